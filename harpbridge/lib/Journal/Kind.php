<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

/** What happened to a file or folder, as the journal says it. */
enum Kind: string {
	/** Made, copied or overwritten: NodeWrittenEvent, the old hook `post_write`. */
	case Written = 'written';
	/** Has another path; a folder's children have no rows of their own. */
	case Renamed = 'renamed';
	/** Gone, or in the trash; a folder's children have no rows of their own. */
	case Deleted = 'deleted';
	/** Out of the trash, under the fileid it had. */
	case Restored = 'restored';
	/** The file cache says something else than before: a scan, a touch, an external storage. */
	case Changed = 'changed';
}
