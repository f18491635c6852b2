<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\NewFiles;

use OCP\IDBConnection;

/**
 * SQLite waits for the disk at each commit, and a file takes some twelve. Many files that are told to nobody before the last
 * one is there need it once: whatever is committed next and waited for keeps all that was committed before it.
 *
 * That holds with a write-ahead log alone, which Nextcloud sets; without one a power cut could spoil the database.
 */
class Commits {
	private const WAITS = 2;
	private ?int $before = null;

	public function __construct(
		private IDBConnection $db,
	) {
	}

	/** Commits of this connection are waited for no more until {@see insist}. */
	public function relax(): void {
		if ($this->db->getDatabaseProvider() !== IDBConnection::PLATFORM_SQLITE || $this->db->inTransaction()) {
			return;
		}
		$synchronous = (int)$this->pragma('synchronous');
		if ($synchronous >= self::WAITS && $this->pragma('journal_mode') === 'wal') {
			$this->db->executeStatement('PRAGMA synchronous = NORMAL');
			$this->before = $synchronous;
		}
	}

	/** They are waited for as before. Whether they were not, so that one has to follow before anybody is told. */
	public function insist(): bool {
		if ($this->before === null) {
			return false;
		}
		$this->db->executeStatement('PRAGMA synchronous = ' . $this->before);
		$this->before = null;
		return true;
	}

	private function pragma(string $name): string {
		$result = $this->db->executeQuery('PRAGMA ' . $name);
		$row = $result->fetch() ?: [];
		$result->closeCursor();
		return (string)($row[$name] ?? '');
	}
}
