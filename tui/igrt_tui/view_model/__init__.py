"""What is shown, worked out without a screen: status and local state in, lines of text out."""
