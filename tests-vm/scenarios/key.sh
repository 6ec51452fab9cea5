# A VAPID key for tests only.
VAPID_PRIVATE=3biZg-StP9bhvUuTo12BOkxEEej1Rcb0kePk-3Wb-nk
