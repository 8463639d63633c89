"""Values that check themselves, and the files they come from (numpy, cv2; no torch)."""
