"""ID extractors (Sec. 3.1): a photo of the object in, ID tokens out."""
