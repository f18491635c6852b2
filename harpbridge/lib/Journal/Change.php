<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

/** One row of the journal before it has an id. `at` is in seconds since 1970; an etag that is not known is empty. */
final class Change {
	public function __construct(
		public readonly Kind $kind,
		public readonly int $fileId,
		public readonly Place $place,
		public readonly int $at,
		public readonly string $etag = '',
		public readonly ?Place $from = null,
		/** Told by the file cache alone; an event about the file itself says the same better. */
		public readonly bool $isFromCache = false,
	) {
	}
}
