# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the daemon says in English of mirrors of Nextcloud accounts: of the account, and of single files. Pure."""

_NOT_MIRRORED = (
    "end-to-end encrypted: only Nextcloud's own clients can read it",
    "external storage, whose changes Nextcloud does not see by itself",
    "the server names no version of it",
)
_OF_THE_ACCOUNT = (
    "the app password of %(user)s was revoked, or is wrong",
    "a file is locked there",
    "the account's quota is used up",
    "the server asks for patience: too many requests",
    "the server is in maintenance or overloaded",
    "the server does not answer (%(status)s)",
    "the server's database was locked",
    "the server answered %(status)s",
    "the server answered %(status)s: %(why)s",
    "the server sends on to %(address)s",
    "the server received other bytes than were sent",
    "the storage that it lies on is not available just now",
    *(f"the folder cannot be mirrored any more: {why}" for why in _NOT_MIRRORED),
    "the certificate of %(server)s is not trusted",
    "%(server)s cannot be reached: %(kind)s",
    "the folder's marker is gone from the disk",
    "a defect of Harp",
    # what a person is asked
    "the folder is not in the account any more",
    "the folder in the account is another one than before",
    "its administrator brought Nextcloud back from a backup",
    "Nextcloud went back in time: %(count)s folders are as they were once before",
    "%(count)s files went back to older versions at once",
    "%(gone)s of %(files)s files are gone from the account at once",
    # the clock
    "this device's clock is %(minutes)s minutes ahead of Nextcloud's",
    "this device's clock is %(minutes)s minutes behind Nextcloud's",
)
"""The account's name and a colon stand before each."""

SENTENCES = (
    *(f"%(account)s: {one}" for one in _OF_THE_ACCOUNT),
    "there is no account %(account)s any more",
    "Nextcloud's journal was emptied, or begun anew: nothing is lost, the mirrors look for themselves",
    "%(url)s has no harpbridge whose journal can be read: update the app there, or harp config set journal_poll_s none",
    "%(folder)s is mirrored by another daemon too: %(who)s",
    "nothing is lost, but all is done twice: leave it on one of them (harp leave NAME), and join it there instead",
    "what is shared in it is mirrored here for %(who)s too: each change is written into Nextcloud once, and lies on"
    " this disk for each of you",
    "here or there: sudo timedatectl set-ntp true",
    # why a single file waits
    "the account's quota is used up",
    "a file is locked there",
    "the server's database was locked",
    "this account may not change it",
    "this account may not add files to that folder",
    "this account may not add folders to that folder",
    "neither file nor directory: Nextcloud has no such things",
    "its name is not UTF-8, which Nextcloud needs",
    "its name is not in Unicode's normal form C: Nextcloud would rename it",
    "its new name on this disk is one that Nextcloud cannot have",
    "its name is one that this Nextcloud forbids",
    "its name begins with “%(what)s”, which this Nextcloud forbids",
    "its name ends with “%(what)s”, which this Nextcloud forbids",
    "its name has “%(what)s”, which this Nextcloud forbids",
    "its name has a control character, which this Nextcloud forbids",
    "its name has more than %(count)s bytes: Nextcloud has no room for it",
    *_NOT_MIRRORED,
    "the storage that it lies on is not available just now",
    "what was shared or mounted here is gone from the account: delete it here as well, or move it elsewhere to keep it",
    "all that was shared or mounted here is gone at once: delete it here as well, or wait until it is back",
    "refused by the server (%(status)s)",
)
