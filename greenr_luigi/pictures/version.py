"""Which pixels the door makes of a file."""

#: Changes whenever the same file gives other pixels; a release says with which its model was made (model.json).
VERSION = 2
#: Those that are still to be had. 1, of releases that say none: colour profiles were passed by, XMP's orientation was
#: followed, and 16 bits a value were taken as 8 or 16.
VERSIONS = (1, VERSION)
