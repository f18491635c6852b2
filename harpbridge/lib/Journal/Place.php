<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

/**
 * Where a file lies, for all its users alike: the numeric id of the storage that really holds it, and its path there.
 *
 * A shared folder has one place and many paths. In a home storage the path begins with `files`.
 */
final class Place {
	public function __construct(
		public readonly int $storage,
		public readonly string $path,
	) {
	}

	public function isAncestorOf(Place $other): bool {
		return $this->storage === $other->storage
			&& ($this->path === '' || str_starts_with($other->path, $this->path . '/'));
	}

	public function equals(Place $other): bool {
		return $this->storage === $other->storage && $this->path === $other->path;
	}
}
