from lnlab.config import limits as limits
