"""Tricks that make a cold start quick, each with the milliseconds it saves."""
