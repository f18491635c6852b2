<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\Journal\Place;
use OCA\HarpBridge\Journal\Places;
use OCP\Files\IHomeStorage;
use OCP\Files\Mount\OneMount;
use OCP\Files\Storage\IStorage;
use PHPUnit\Framework\TestCase;

/** Where things lie, and what is nobody's file. */
class PlacesTest extends TestCase {
	private IStorage $home;
	private Places $places;

	protected function setUp(): void {
		$this->home = new IStorage(1, [IHomeStorage::class]);
		$this->places = new Places(new OneMount($this->home, '/alice/'));
	}

	/** @return list<array{string, bool}> */
	public static function homePaths(): array {
		return [
			['files/a.txt', true], ['files/files_versions/a', true], ['files', false], ['', false],
			['files_versions/a.txt.v1', false], ['files_trashbin/files/a.d1', false], ['uploads/u/1', false],
			['cache/a', false], ['files/a.txt.ocTransferId12.part', false], ['files/party', true],
		];
	}

	/** @dataProvider homePaths */
	public function testOfAHomeOnlyTheFilesCount(string $path, bool $isTold): void {
		self::assertSame($isTold, $this->places->of($this->home, $path) !== null);
	}

	/** @return list<array{string, bool}> */
	public static function otherPaths(): array {
		return [
			['a.txt', true], ['files/a.txt', true], ['__groupfolders/1/a', true], ['appdata_oc1/preview/1', false],
			['__groupfolders/versions/1/a', false], ['__groupfolders/trash/1/a', false], ['appdata/a', true],
		];
	}

	/** @dataProvider otherPaths */
	public function testElsewhereAllCountsButWhatNextcloudKeepsForItself(string $path, bool $isTold): void {
		self::assertSame($isTold, $this->places->of(new IStorage(9), $path) !== null);
	}

	public function testASharedFileLiesWhereItsOwnerHasIt(): void {
		$share = new IStorage(99, ['OC\Files\Storage\Wrapper\Jail'], $this->home, 'files/share');
		self::assertEquals(new Place(1, 'files/share/x'), $this->places->of($share, 'x', 99));
	}

	public function testAPathThatIsNoMoreIsFoundByItsMount(): void {
		self::assertEquals(new Place(1, 'files/was/here'), $this->places->ofPath('/alice/files//was/here'));
		self::assertNull($this->places->ofPath('/bob/files/x'));
	}
}
