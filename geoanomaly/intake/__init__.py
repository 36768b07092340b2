"""What requests bring: checked, priced, and taken in through the sandbox."""
