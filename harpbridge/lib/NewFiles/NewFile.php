<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\NewFiles;

/** What is to be made: where, relative to the person's files, with which time in seconds, and how its bytes are proved. */
final class NewFile {
	private function __construct(
		public readonly string $folder,
		public readonly string $name,
		public readonly int $size,
		public readonly int $mtime,
		public readonly string $sha256,
	) {
	}

	/** @throws \InvalidArgumentException where it is not what it should be */
	public static function of(mixed $told): self {
		$path = $told['path'] ?? null;
		$size = $told['size'] ?? null;
		$mtime = $told['mtime'] ?? null;
		$sha256 = $told['sha256'] ?? null;
		if (!is_string($path) || array_intersect(explode('/', $path), ['', '.', '..']) !== []) {
			throw new \InvalidArgumentException('each file needs a path like Documents/a.txt');
		}
		if (!is_int($size) || $size < 0 || $size > Parcel::MOST_BYTES) {
			throw new \InvalidArgumentException('each file needs a size of 0 to ' . Parcel::MOST_BYTES . ' bytes');
		}
		if (!is_int($mtime) || $mtime < 1) {
			throw new \InvalidArgumentException('each file needs an mtime in seconds, from 1 on');
		}
		if (!is_string($sha256) || preg_match('/^[0-9a-f]{64}$/D', $sha256) !== 1) {
			throw new \InvalidArgumentException('each file needs its sha256 in 64 hexadecimal digits');
		}
		$parts = explode('/', $path);
		$name = array_pop($parts);
		return new self(implode('/', $parts), $name, $size, $mtime, $sha256);
	}
}
