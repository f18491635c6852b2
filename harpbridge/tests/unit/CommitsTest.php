<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\NewFiles\Commits;
use OCA\HarpBridge\StandIns\Database;
use PHPUnit\Framework\TestCase;

/** For how long commits are not waited for, by a real SQLite. */
class CommitsTest extends TestCase {
	private const FULL = 2;
	private const NORMAL = 1;
	private string $place;

	protected function setUp(): void {
		$this->place = tempnam(sys_get_temp_dir(), 'commits');
	}

	protected function tearDown(): void {
		array_map('unlink', glob($this->place . '*'));
	}

	private function database(string $journal, string $provider = 'sqlite'): Database {
		$database = new Database($provider, $this->place);
		$database->pdo->exec('PRAGMA journal_mode = ' . $journal);
		$database->pdo->exec('PRAGMA synchronous = FULL');
		return $database;
	}

	private static function waits(Database $database): int {
		return (int)$database->pdo->query('PRAGMA synchronous')->fetchColumn();
	}

	public function testWithAWriteAheadLogTheyAreNotWaitedForUntilTheEnd(): void {
		$database = $this->database('WAL');
		$commits = new Commits($database);
		$commits->relax();
		self::assertSame(self::NORMAL, self::waits($database));
		self::assertTrue($commits->insist(), 'one is owed');
		self::assertSame(self::FULL, self::waits($database));
		self::assertFalse($commits->insist(), 'and once');
	}

	public function testWithoutOneThePowerCouldSpoilTheDatabaseAndAllAreWaitedFor(): void {
		$database = $this->database('DELETE');
		$commits = new Commits($database);
		$commits->relax();
		self::assertSame(self::FULL, self::waits($database));
		self::assertFalse($commits->insist(), 'none is owed');
	}

	public function testWithinSomebodysTransactionNothingIsChanged(): void {
		$database = $this->database('WAL');
		$database->beginTransaction();
		(new Commits($database))->relax();
		$database->commit();
		self::assertSame(self::FULL, self::waits($database));
	}

	public function testAnotherDatabaseIsNotAsked(): void {
		$database = $this->database('WAL', 'postgres');
		$commits = new Commits($database);
		$commits->relax();
		$commits->insist();
		self::assertSame([], $database->said);
	}
}
