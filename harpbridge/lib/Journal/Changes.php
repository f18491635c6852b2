<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

/**
 * The changes of one request, each said once.
 *
 * A PUT fires about six events: the file's own, the file cache's, and one for each folder above it, whose etag is new.
 * What is left of them is one row.
 */
final class Changes {
	/** @var list<Change> */
	private array $changes = [];

	public function add(Change $change): void {
		if ($change->isFromCache) {
			$this->addFromCache($change);
			return;
		}
		$this->changes = array_values(array_filter(
			$this->changes,
			static fn (Change $known): bool => $known->fileId !== $change->fileId
				|| !($known->isFromCache || self::saysNoMore($known, $change)),
		));
		$this->changes[] = $change;
	}

	public function count(): int {
		return count($this->changes);
	}

	/** When the first of them was added, in seconds since 1970; null where there is none. */
	public function since(): ?int {
		return $this->changes === [] ? null : $this->changes[0]->at;
	}

	/**
	 * What there is, without the folders that are only above something else; then it is forgotten.
	 *
	 * @return list<Change>
	 */
	public function take(): array {
		$taken = $this->changes;
		$this->changes = [];
		$below = [];
		foreach ($taken as $change) {
			foreach ([$change->place, $change->from] as $place) {
				if ($place !== null) {
					self::markAbove($below, $place);
				}
			}
		}
		return array_values(array_filter(
			$taken,
			static fn (Change $change): bool => $change->kind !== Kind::Changed
				|| !isset($below[$change->place->storage . ':' . $change->place->path]),
		));
	}

	private function addFromCache(Change $change): void {
		foreach ($this->changes as $index => $known) {
			if ($known->fileId !== $change->fileId) {
				continue;
			}
			if (!$known->isFromCache) {
				return;
			}
			// Out of one storage, into another: the file kept its id.
			$moved = $known->kind === Kind::Deleted && $change->kind === Kind::Changed
				&& !$known->place->equals($change->place);
			$this->changes[$index] = new Change(
				$moved ? Kind::Renamed : $change->kind,
				$change->fileId,
				$change->place,
				$change->at,
				$change->etag,
				$moved ? $known->place : null,
				true,
			);
			return;
		}
		$this->changes[] = $change;
	}

	private static function saysNoMore(Change $known, Change $change): bool {
		return $known->kind === $change->kind && $known->from === null && $known->place->equals($change->place);
	}

	/** @param array<string, true> $below */
	private static function markAbove(array &$below, Place $place): void {
		for ($path = $place->path; $path !== '';) {
			$cut = strrpos($path, '/');
			$path = $cut === false ? '' : substr($path, 0, $cut);
			$below[$place->storage . ':' . $path] = true;
		}
	}
}
