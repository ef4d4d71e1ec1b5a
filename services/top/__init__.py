"""What `ringfence top` does: ask workers for their status, lay it out, show it. Knows workers by `/statusz` alone."""
