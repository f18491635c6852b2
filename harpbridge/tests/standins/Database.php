<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

/** A connection to a real SQLite in memory. Like PostgreSQL, a transaction in which a statement failed is spoiled. */

namespace OCP {
	interface IDBConnection {
		public const PLATFORM_MYSQL = 'mysql';
		public const PLATFORM_POSTGRES = 'postgres';
		public const PLATFORM_SQLITE = 'sqlite';

		public function executeStatement(string $sql, array $params = [], array $types = []): int;
		public function executeQuery(string $sql, array $params = [], $types = []): mixed;
		public function lastInsertId(string $table): int;
		public function inTransaction(): bool;
		public function beginTransaction(): void;
		public function commit(): void;
		public function rollBack(): void;
		public function getDatabaseProvider(): string;
	}
}

namespace OCA\HarpBridge\StandIns {
	final class Database implements \OCP\IDBConnection {
		public \PDO $pdo;
		/** @var list<string> each statement that was asked for */
		public array $said = [];
		/** @var list<list<string>> each name and value that was set for the length of a transaction */
		public array $settings = [];
		/** The depth at which a statement failed; PostgreSQL refuses all others until that is rolled back. */
		private ?int $spoiled = null;
		private int $depth = 0;

		public function __construct(
			private string $provider = 'sqlite',
			string $place = ':memory:',
		) {
			$this->pdo = new \PDO('sqlite:' . $place);
			$this->pdo->exec('CREATE TABLE oc_person (did TEXT)');
			if ($provider === self::PLATFORM_POSTGRES) {
				$this->pdo->sqliteCreateFunction('set_config', function (string ...$said): string {
					$this->settings[] = $said;
					return $said[1];
				});
			}
		}

		public function makeJournal(): self {
			$this->pdo->exec('CREATE TABLE oc_harpbridge_journal (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER, kind TEXT,'
				. ' fileid INTEGER, storage INTEGER, path TEXT, from_storage INTEGER, from_path TEXT, etag TEXT)');
			return $this;
		}

		public function executeStatement(string $sql, array $params = [], array $types = []): int {
			$this->said[] = $sql;
			return $this->run($sql, $params)->rowCount();
		}

		public function executeQuery(string $sql, array $params = [], $types = []): mixed {
			$rows = $this->run($sql, $params)->fetchAll(\PDO::FETCH_ASSOC);
			return new class($rows) {
				public function __construct(
					private array $rows,
				) {
				}

				public function fetch(): array|false {
					return array_shift($this->rows) ?? false;
				}

				public function closeCursor(): void {
				}
			};
		}

		/** MySQL answers the first id of a statement of many rows. */
		public function lastInsertId(string $table): int {
			$last = (int)$this->pdo->lastInsertId();
			return $this->provider === self::PLATFORM_MYSQL ? $last - $this->rowsOfLast() + 1 : $last;
		}

		public function inTransaction(): bool {
			return $this->depth > 0;
		}

		public function beginTransaction(): void {
			$this->depth++;
			$this->pdo->exec($this->depth === 1 ? 'BEGIN' : 'SAVEPOINT s' . $this->depth);
		}

		public function commit(): void {
			if ($this->spoiled !== null) {
				throw new \RuntimeException('current transaction is aborted');
			}
			$this->pdo->exec($this->depth === 1 ? 'COMMIT' : 'RELEASE s' . $this->depth);
			$this->depth--;
		}

		public function rollBack(): void {
			$this->pdo->exec($this->depth === 1 ? 'ROLLBACK' : 'ROLLBACK TO s' . $this->depth);
			if ($this->spoiled !== null && $this->spoiled >= $this->depth) {
				$this->spoiled = null;
			}
			$this->depth--;
		}

		public function getDatabaseProvider(): string {
			return $this->provider;
		}

		/** @return list<array<string, mixed>> */
		public function rows(): array {
			return $this->pdo->query('SELECT * FROM oc_harpbridge_journal ORDER BY id')->fetchAll(\PDO::FETCH_ASSOC);
		}

		private function run(string $sql, array $params): \PDOStatement {
			if ($this->spoiled !== null) {
				throw new \RuntimeException('current transaction is aborted');
			}
			try {
				$statement = $this->pdo->prepare(str_replace('*PREFIX*', 'oc_', $sql));
				$statement->execute($params);
				return $statement;
			} catch (\PDOException $e) {
				$this->spoiled = $this->depth > 0 ? $this->depth : null;
				throw $e;
			}
		}

		private function rowsOfLast(): int {
			return substr_count((string)end($this->said), '(?');
		}
	}
}
