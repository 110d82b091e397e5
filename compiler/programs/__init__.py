"""Vassals that are not uWSGI, from their options to the words that start them."""
