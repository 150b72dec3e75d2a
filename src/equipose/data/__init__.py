"""Reading, checking, packing and batching multi-modal pose recordings."""
