<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

use OCP\Files\Cache\IFileAccess;
use OCP\Files\Config\IUserMountCache;
use OCP\Files\IRootFolder;
use OCP\IUser;

/**
 * The journal as one person may read it: the rows about files that they see, with the paths under which they see them.
 *
 * @psalm-type Row = array{id: int, at: int, kind: string, fileid: int, path: string, from?: string, etag: string}
 */
class Reader {
	/** Rows looked through for one answer; who gets fewer than asked reads on from the cursor. */
	private const MOST_LOOKED_AT = 10_000;

	public function __construct(
		private Journal $journal,
		private IUserMountCache $mounts,
		private IRootFolder $root,
		private IFileAccess $files,
	) {
	}

	/**
	 * @return array{cursor: int, oldest: int, rows: list<Row>} read again until the cursor stands still
	 */
	public function read(IUser $user, int $since, int $limit): array {
		// Mounts the person's shares where that has not been done since the last one was made.
		$this->root->getUserFolder($user->getUID());
		$view = View::of($user->getUID(), $this->mounts->getMountsForUser($user));
		$storages = $view->storages();
		$ends = $this->journal->ends();
		if ($since > $ends['newest'] || $storages === []) {
			// A smaller cursor than the caller's says that the journal was begun anew.
			return ['cursor' => $ends['newest'], 'oldest' => $ends['oldest'], 'rows' => []];
		}
		$rows = [];
		$cursor = $since;
		$isAtEnd = false;
		for ($looked = 0; $looked < self::MOST_LOOKED_AT && count($rows) < $limit && !$isAtEnd; $looked += count($batch)) {
			$batch = $this->journal->after($cursor, $storages, $limit - count($rows));
			$isAtEnd = count($batch) < $limit - count($rows);
			foreach ($batch as $row) {
				$cursor = (int)$row['id'];
				$seen = self::seen($row, $view);
				if ($seen !== null) {
					$rows[] = $seen;
				}
			}
		}
		// Nothing that concerns this person lies between: they need not look there again. Ids given out meanwhile do.
		return [
			'cursor' => $isAtEnd ? max($cursor, $ends['newest']) : $cursor,
			'oldest' => $ends['oldest'],
			'rows' => $this->withEtags($rows),
		];
	}

	/**
	 * A move into what a person sees is a write to them, and one out of it a deletion.
	 *
	 * @param array<string, mixed> $row
	 * @return Row|null
	 */
	public static function seen(array $row, View $view): ?array {
		$path = $view->paths(self::place($row['storage'], $row['path']))[0] ?? null;
		$from = $row['from_storage'] === null
			? null
			: $view->paths(self::place($row['from_storage'], $row['from_path']))[0] ?? null;
		if ($path === null && $from === null) {
			return null;
		}
		$kind = Kind::tryFrom((string)$row['kind']) ?? Kind::Changed;
		$seen = [
			'id' => (int)$row['id'],
			'at' => (int)$row['at'],
			'kind' => match (true) {
				$kind !== Kind::Renamed => $kind->value,
				$path === null => Kind::Deleted->value,
				$from === null => Kind::Written->value,
				default => $kind->value,
			},
			'fileid' => (int)$row['fileid'],
			'path' => $path ?? $from,
			'etag' => $path === null ? '' : (string)$row['etag'],
		];
		if ($path !== null && $from !== null) {
			$seen['from'] = $from;
		}
		return $seen;
	}

	/**
	 * The cache's own events say no etag; the one that a file has by now is as good.
	 *
	 * @param list<Row> $rows
	 * @return list<Row>
	 */
	private function withEtags(array $rows): array {
		$lacks = static fn (array $row): bool => $row['etag'] === '' && $row['kind'] !== Kind::Deleted->value;
		$ids = array_values(array_unique(array_column(array_filter($rows, $lacks), 'fileid')));
		$known = $ids === [] ? [] : $this->files->getByFileIds($ids);
		foreach ($rows as $index => $row) {
			if ($lacks($row) && isset($known[$row['fileid']])) {
				$rows[$index]['etag'] = (string)$known[$row['fileid']]->getEtag();
			}
		}
		return $rows;
	}

	private static function place(mixed $storage, mixed $path): Place {
		return new Place((int)$storage, (string)$path);
	}
}
