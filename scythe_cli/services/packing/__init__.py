"""Packed runs taken in again: checked, unpacked into a storage, and run again."""
