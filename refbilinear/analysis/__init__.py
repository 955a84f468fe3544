"""From weights to findings: the spectrum of what a layer computes."""
