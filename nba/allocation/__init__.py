"""Allocation: who gets which action under limits that all share, with prices and a certificate."""
