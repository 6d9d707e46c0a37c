"""Should this answer be given at all?"""
