"""Trained models used."""
