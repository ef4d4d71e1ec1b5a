"""The published contract: each rule of it from both sides."""
