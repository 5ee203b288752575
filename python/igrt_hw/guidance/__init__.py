"""Image guidance: plan in, images in, registration, correction out."""
