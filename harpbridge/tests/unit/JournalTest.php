<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Journal\Change;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\Journal\Kind;
use OCA\HarpBridge\Journal\Place;
use OCA\HarpBridge\Journal\Reader;
use OCA\HarpBridge\Journal\View;
use OCA\HarpBridge\StandIns\Database;
use PHPUnit\Framework\TestCase;

/** The table, and how one person sees its rows. */
class JournalTest extends TestCase {
	/** @return non-empty-list<Change> */
	private static function many(int $count): array {
		return array_map(
			static fn (int $id): Change => new Change(Kind::Changed, $id, new Place(1, "files/$id"), 50 + $id),
			range(1, $count),
		);
	}

	/** @return list<array{string}> */
	public static function databases(): array {
		return [['sqlite'], ['mysql'], ['postgres']];
	}

	/** @dataProvider databases */
	public function testTheLastIdIsTheLastRowsOnEachDatabase(string $provider): void {
		$journal = new Journal((new Database($provider))->makeJournal());
		self::assertSame(3, $journal->append(self::many(3)));
		self::assertSame(253, $journal->append(self::many(250)));
		self::assertSame(['oldest' => 1, 'newest' => 253], $journal->ends());
	}

	public function testPostgresDoesNotWaitForTheDiskInAStatementOfOurOwn(): void {
		$db = (new Database('postgres'))->makeJournal();
		self::assertSame(1, (new Journal($db))->append(self::many(1)));
		self::assertSame([['synchronous_commit', 'off', '1']], $db->settings);
	}

	public function testWithinAPersonsTransactionPostgresWaitsAsEver(): void {
		$db = (new Database('postgres'))->makeJournal();
		$db->beginTransaction();
		self::assertSame(1, (new Journal($db))->append(self::many(1)));
		$db->commit();
		self::assertSame([[], 1], [$db->settings, count($db->rows())]);
	}

	/** @dataProvider others */
	public function testOtherDatabasesAreAskedForNothingOfTheKind(string $provider): void {
		$db = (new Database($provider))->makeJournal();
		(new Journal($db))->append(self::many(1));
		self::assertStringNotContainsString('RETURNING', implode($db->said));
	}

	/** @return list<array{string}> */
	public static function others(): array {
		return [['sqlite'], ['mysql']];
	}

	public function testOldDatabasesTakeAHundredRowsAtOnce(): void {
		$db = (new Database())->makeJournal();
		(new Journal($db))->append(self::many(250));
		self::assertCount(3, $db->said);
	}

	public function testWhatADatabaseWouldRefuseIsMadeToFit(): void {
		$db = (new Database())->makeJournal();
		$change = new Change(Kind::Written, 7, new Place(1, "files/\0\xff" . str_repeat('ä', 5000)), 1, str_repeat('e', 90));
		(new Journal($db))->append([$change]);
		$row = $db->rows()[0];
		self::assertTrue(mb_check_encoding($row['path'], 'UTF-8'));
		self::assertStringNotContainsString("\0", $row['path']);
		self::assertSame([4000, 40], [mb_strlen($row['path']), strlen($row['etag'])]);
	}

	public function testARowThatComesBehindAGreaterIdChangesTheMarkToo(): void {
		$db = (new Database())->makeJournal();
		$journal = new Journal($db);
		self::assertSame(['newest' => 0, 'recent' => 0], $journal->mark());
		$journal->append(self::many(3));
		$db->pdo->exec('DELETE FROM oc_harpbridge_journal WHERE id = 2');
		self::assertSame(['newest' => 3, 'recent' => 2], $journal->mark());
		$db->pdo->exec("INSERT INTO oc_harpbridge_journal (id, kind) VALUES (2, 'written')");
		self::assertSame(['newest' => 3, 'recent' => 3], $journal->mark());
		$journal->append(self::many(2000));
		self::assertSame(['newest' => 2003, 'recent' => 1000], $journal->mark());
	}

	public function testAnEmptyJournalBeginsAndEndsNowhere(): void {
		$journal = new Journal((new Database())->makeJournal());
		self::assertSame(['oldest' => 0, 'newest' => 0], $journal->ends());
		self::assertSame(0, $journal->extent()['rows']);
	}

	private static function mount(int $storage, string $at, string $root = ''): object {
		return new class($storage, $at, $root) {
			public function __construct(
				private int $storage,
				private string $at,
				private string $root,
			) {
			}

			public function getStorageId(): int {
				return $this->storage;
			}

			public function getMountPoint(): string {
				return $this->at;
			}

			public function getRootInternalPath(): string {
				return $this->root;
			}
		};
	}

	private static function bob(): View {
		return View::of('bob', [
			self::mount(2, '/bob/'), self::mount(1, '/bob/files/from alice/', 'files/share'), self::mount(5, '/bob/other/'),
		]);
	}

	/** @return array<string, mixed>|null */
	private static function seen(string $kind, int $storage, string $path, ?int $fromStorage = null, ?string $from = null): ?array {
		$row = ['id' => 1, 'at' => 2, 'kind' => $kind, 'fileid' => 7, 'storage' => $storage, 'path' => $path,
			'from_storage' => $fromStorage, 'from_path' => $from, 'etag' => 'e'];
		$seen = Reader::seen($row, self::bob());
		return $seen === null ? null : array_intersect_key($seen, ['kind' => 1, 'path' => 1, 'from' => 1]);
	}

	public function testEachPersonReadsTheirOwnPaths(): void {
		self::assertSame(['kind' => 'written', 'path' => 'x'], self::seen('written', 2, 'files/x'));
		self::assertSame(['kind' => 'written', 'path' => 'from alice/x'], self::seen('written', 1, 'files/share/x'));
		self::assertSame(['kind' => 'changed', 'path' => 'from alice'], self::seen('changed', 1, 'files/share'));
	}

	public function testNobodyReadsOfAnothersFiles(): void {
		self::assertNull(self::seen('written', 1, 'files/private/x'));
		self::assertNull(self::seen('written', 1, 'files/share-not/x'));
		self::assertNull(self::seen('written', 3, 'files/x'));
		self::assertNull(self::seen('written', 5, 'x'));
	}

	public function testAMoveAcrossTheEdgeOfAShareIsAWriteOrADeletion(): void {
		self::assertSame(['kind' => 'deleted', 'path' => 'from alice/x'], self::seen('renamed', 1, 'files/private/x', 1, 'files/share/x'));
		self::assertSame(['kind' => 'written', 'path' => 'from alice/x'], self::seen('renamed', 1, 'files/share/x', 1, 'files/private/x'));
		self::assertSame(
			['kind' => 'renamed', 'path' => 'x', 'from' => 'from alice/x'],
			self::seen('renamed', 2, 'files/x', 1, 'files/share/x'),
		);
	}
}
