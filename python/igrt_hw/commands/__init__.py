"""The commands of `igrt`, one noun a file. Heavy imports stay inside: `igrt stop` must not wait for them."""
