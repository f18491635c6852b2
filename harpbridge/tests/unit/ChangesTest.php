<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Journal\Change;
use OCA\HarpBridge\Journal\Changes;
use OCA\HarpBridge\Journal\Kind;
use OCA\HarpBridge\Journal\Place;
use PHPUnit\Framework\TestCase;

/** What is left of a request's events. */
class ChangesTest extends TestCase {
	private static function cache(int $id, string $path, Kind $kind = Kind::Changed, int $storage = 1): Change {
		return new Change($kind, $id, new Place($storage, $path), 100, isFromCache: true);
	}

	private static function node(Kind $kind, int $id, string $path, string $etag = '', ?string $from = null): Change {
		return new Change($kind, $id, new Place(1, $path), 100, $etag, $from === null ? null : new Place(1, $from));
	}

	/** @return list<string> */
	private static function left(Change ...$changes): array {
		$collected = new Changes();
		foreach ($changes as $change) {
			$collected->add($change);
		}
		return array_map(
			static fn (Change $c): string => $c->kind->value . ' ' . $c->place->path . ($c->from === null ? '' : ' from ' . $c->from->path),
			$collected->take(),
		);
	}

	public function testAnUploadIsOneRowHoweverManyEventsItFires(): void {
		self::assertSame(['written files/a/x'], self::left(
			self::cache(7, 'files/a/x'), self::cache(3, 'files/a'), self::cache(2, 'files'), self::cache(7, 'files/a/x'),
			self::node(Kind::Written, 7, 'files/a/x', 'e1'),
		));
	}

	public function testAScanSaysWhatTheCacheSays(): void {
		self::assertSame(['changed files/a', 'deleted files/b'], self::left(
			self::cache(7, 'files/a'), self::cache(8, 'files/b', Kind::Deleted),
		));
	}

	public function testAFolderAboveSomethingElseSaysNothingNew(): void {
		self::assertSame(['renamed files/b/x from files/a/x'], self::left(
			self::cache(3, 'files/a'), self::cache(4, 'files/b'), self::node(Kind::Renamed, 7, 'files/b/x', 'e', 'files/a/x'),
		));
	}

	public function testAFolderWhoseNameOnlyBeginsAlikeIsNotAbove(): void {
		self::assertSame(['changed files/a', 'written files/ab'], self::left(
			self::cache(3, 'files/a'), self::node(Kind::Written, 7, 'files/ab'),
		));
	}

	public function testOutOfOneStorageIntoAnotherIsAMove(): void {
		self::assertSame(['renamed files/x from files/share/x'], self::left(
			self::cache(7, 'files/share/x', Kind::Deleted), self::cache(7, 'files/x', storage: 2),
		));
	}

	public function testTheFilesOwnEventCountsBeforeTheCachesWhicheverComesFirst(): void {
		$own = self::node(Kind::Restored, 7, 'files/x', 'e');
		self::assertSame(['restored files/x'], self::left(self::cache(7, 'files/x'), $own));
		self::assertSame(['restored files/x'], self::left($own, self::cache(7, 'files/x')));
	}

	public function testTwoThingsThatHappenedToOneFileStayInOrder(): void {
		self::assertSame(['written files/x', 'renamed files/y from files/x', 'deleted files/y'], self::left(
			self::node(Kind::Written, 7, 'files/x'), self::node(Kind::Renamed, 7, 'files/y', '', 'files/x'),
			self::node(Kind::Deleted, 7, 'files/y'),
		));
	}

	public function testWhatIsTakenIsForgotten(): void {
		$changes = new Changes();
		$changes->add(self::node(Kind::Written, 7, 'files/x'));
		self::assertSame(100, $changes->since());
		self::assertCount(1, $changes->take());
		self::assertSame([0, null, []], [$changes->count(), $changes->since(), $changes->take()]);
	}
}
