"""Where do weights come from, and are they safe to load?"""
