<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

use OCP\DB\QueryBuilder\IQueryBuilder;
use OCP\IDBConnection;

/** The table of what changed. It is the truth; the datagram is only the call to read it. */
class Journal {
	public const TABLE = 'harpbridge_journal';

	/** Rows in one INSERT: old SQLites take at most 999 values. */
	private const MOST_ROWS = 100;
	private const COLUMNS = ['at', 'kind', 'fileid', 'storage', 'path', 'from_storage', 'from_path', 'etag'];
	/** So far one row may come behind another whose id is greater. */
	private const DISORDER = 1000;
	/**
	 * PostgreSQL: the commit of this one statement does not wait for the disk. The setting ends with the statement's own
	 * transaction (`is_local`), so it must be in no other. A power cut may take the row; each mirror looks without it too.
	 */
	private const WITHOUT_THE_DISK = " RETURNING set_config('synchronous_commit', 'off', true)";
	private const LONGEST_PATH = 4000;
	private const LONGEST_ETAG = 40;

	public function __construct(
		private IDBConnection $db,
	) {
	}

	/**
	 * Write the rows, in one statement up to a hundred, and answer the last id.
	 *
	 * On PostgreSQL a failed statement spoils the transaction around it even where its error is caught; so inside one,
	 * there is a savepoint first (a nested transaction is that).
	 *
	 * @param non-empty-list<Change> $changes
	 * @throws \OCP\DB\Exception
	 */
	public function append(array $changes): int {
		if (!$this->db->inTransaction()) {
			$isPostgres = $this->db->getDatabaseProvider() === IDBConnection::PLATFORM_POSTGRES;
			return $this->insert($changes, $isPostgres ? self::WITHOUT_THE_DISK : '');
		}
		$this->db->beginTransaction();
		try {
			$last = $this->insert($changes);
			$this->db->commit();
			return $last;
		} catch (\Throwable $e) {
			$this->db->rollBack();
			throw $e;
		}
	}

	/** Whether what was appended can be read by others by now. */
	public function isReadable(): bool {
		return !$this->db->inTransaction();
	}

	/**
	 * Rows after `$since` that touch one of these storages, oldest first.
	 *
	 * @param list<int> $storages
	 * @return list<array<string, mixed>>
	 */
	public function after(int $since, array $storages, int $limit): array {
		$query = $this->db->getQueryBuilder();
		$touched = $query->createNamedParameter($storages, IQueryBuilder::PARAM_INT_ARRAY);
		$query->select('*')
			->from(self::TABLE)
			->where($query->expr()->gt('id', $query->createNamedParameter($since, IQueryBuilder::PARAM_INT)))
			->andWhere($query->expr()->orX(
				$query->expr()->in('storage', $touched),
				$query->expr()->in('from_storage', $touched),
			))
			->orderBy('id')
			->setMaxResults($limit);
		$result = $query->executeQuery();
		$rows = $result->fetchAll();
		$result->closeCursor();
		return $rows;
	}

	/** @return array{oldest: int, newest: int, rows: int, oldest_at: int, newest_at: int} zeros where it is empty */
	public function extent(): array {
		$result = $this->db->executeQuery(
			'SELECT MIN(id) AS oldest, MAX(id) AS newest, COUNT(*) AS amount, MIN(at) AS oldest_at, MAX(at) AS newest_at '
			. 'FROM *PREFIX*' . self::TABLE,
		);
		$row = $result->fetch() ?: [];
		$result->closeCursor();
		return [
			'oldest' => (int)($row['oldest'] ?? 0),
			'newest' => (int)($row['newest'] ?? 0),
			'rows' => (int)($row['amount'] ?? 0),
			'oldest_at' => (int)($row['oldest_at'] ?? 0),
			'newest_at' => (int)($row['newest_at'] ?? 0),
		];
	}

	/** @return array{oldest: int, newest: int} found in the index, without counting */
	public function ends(): array {
		$result = $this->db->executeQuery(
			'SELECT (SELECT MIN(id) FROM *PREFIX*' . self::TABLE . ') AS oldest, '
			. '(SELECT MAX(id) FROM *PREFIX*' . self::TABLE . ') AS newest',
		);
		$row = $result->fetch() ?: [];
		$result->closeCursor();
		return ['oldest' => (int)($row['oldest'] ?? 0), 'newest' => (int)($row['newest'] ?? 0)];
	}

	/**
	 * Two numbers of which one is another one as soon as a row can be read that could not be read before.
	 *
	 * Ids are given out before rows are committed: one that comes behind a greater one changes how many there are.
	 *
	 * @return array{newest: int, recent: int} the last id; how many rows there are among the last thousand ids
	 */
	public function mark(): array {
		$newest = $this->ends()['newest'];
		$result = $this->db->executeQuery(
			'SELECT COUNT(*) AS amount FROM *PREFIX*' . self::TABLE . ' WHERE id > ?',
			[max(0, $newest - self::DISORDER)],
		);
		$row = $result->fetch() ?: [];
		$result->closeCursor();
		return ['newest' => $newest, 'recent' => (int)($row['amount'] ?? 0)];
	}

	/**
	 * @return list<array<string, mixed>> the newest rows of all people, newest first
	 */
	public function newest(int $limit): array {
		$query = $this->db->getQueryBuilder();
		$query->select('*')->from(self::TABLE)->orderBy('id', 'DESC')->setMaxResults($limit);
		$result = $query->executeQuery();
		$rows = $result->fetchAll();
		$result->closeCursor();
		return $rows;
	}

	/** Forget rows older than `$at`; the newest stays, so that ids are never seen to go back. Answers how many went. */
	public function forgetBefore(int $at): int {
		$newest = $this->ends()['newest'];
		$query = $this->db->getQueryBuilder();
		$query->delete(self::TABLE)
			->where($query->expr()->lt('at', $query->createNamedParameter($at, IQueryBuilder::PARAM_INT)))
			->andWhere($query->expr()->lt('id', $query->createNamedParameter($newest, IQueryBuilder::PARAM_INT)));
		return $query->executeStatement();
	}

	/** @param non-empty-list<Change> $changes */
	private function insert(array $changes, string $returning = ''): int {
		$last = 0;
		foreach (array_chunk($changes, self::MOST_ROWS) as $rows) {
			$values = '(' . implode(', ', array_fill(0, count(self::COLUMNS), '?')) . ')';
			$this->db->executeStatement(
				'INSERT INTO *PREFIX*' . self::TABLE . ' (' . implode(', ', self::COLUMNS) . ') VALUES '
				. implode(', ', array_fill(0, count($rows), $values)) . $returning,
				array_merge(...array_map(self::values(...), $rows)),
			);
			$last = $this->lastId(count($rows));
		}
		return $last;
	}

	private function lastId(int $rows): int {
		$id = $this->db->lastInsertId('*PREFIX*' . self::TABLE);
		// MySQL and MariaDB answer the first id of a statement of many rows.
		return $this->db->getDatabaseProvider() === IDBConnection::PLATFORM_MYSQL ? $id + $rows - 1 : $id;
	}

	/** @return list<int|string|null> in the order of COLUMNS, and none that a column could refuse */
	private static function values(Change $change): array {
		return [
			$change->at,
			$change->kind->value,
			$change->fileId,
			$change->place->storage,
			self::text($change->place->path, self::LONGEST_PATH),
			$change->from?->storage,
			$change->from === null ? null : self::text($change->from->path, self::LONGEST_PATH),
			self::text($change->etag, self::LONGEST_ETAG),
		];
	}

	/** PostgreSQL refuses NUL and what is not UTF-8. */
	private static function text(string $text, int $most): string {
		if (!mb_check_encoding($text, 'UTF-8')) {
			$text = mb_scrub($text, 'UTF-8');
		}
		return mb_substr(str_replace("\0", '', $text), 0, $most, 'UTF-8');
	}
}
