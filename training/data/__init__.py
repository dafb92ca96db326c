"""Where pictures, captions, conditions and masks come from, checked and cropped."""
