<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\HarpBridge\NewFiles\Parcel;
use OCA\HarpBridge\NewFiles\Writer;
use OCP\Files\File;
use OCP\Files\Folder;
use OCP\Files\IFilenameValidator;
use OCP\Files\IRootFolder;
use OCP\IUser;
use PHPUnit\Framework\TestCase;
use Psr\Log\LoggerInterface;

/** Many files in one request: each where nothing lies, or not at all. */
class NewFilesTest extends TestCase {
	private Folder $home;
	private Folder $letters;

	protected function setUp(): void {
		$this->home = new Folder('/alice/files');
		$this->letters = new Folder('/alice/files/Letters');
		$this->home->within = ['Letters' => $this->letters, 'note' => new File('note', 'mine', 7)];
	}

	/** @return array{path: string, size: int, mtime: int, sha256: string} */
	private static function listed(string $path, string $content, int $mtime = 1700000000): array {
		return ['path' => $path, 'size' => strlen($content), 'mtime' => $mtime, 'sha256' => hash('sha256', $content)];
	}

	/** @return list<array{path: string, fileid: string, etag: string}> */
	private function sent(mixed $list, string $contents): array {
		$body = fopen('php://memory', 'w+b');
		fwrite($body, (is_string($list) ? $list : json_encode($list)) . "\n" . $contents);
		rewind($body);
		$root = $this->createStub(IRootFolder::class);
		$root->method('getUserFolder')->willReturn($this->home);
		$names = $this->createStub(IFilenameValidator::class);
		$names->method('isFilenameValid')->willReturnCallback(static fn (string $name): bool => $name !== '.htaccess');
		$writer = new Writer($root, $names, $this->createStub(LoggerInterface::class));
		return $writer->write($this->createStub(IUser::class), Parcel::of($body));
	}

	public function testEachIsMadeWithItsTimeAndToldAsItIsAfterwards(): void {
		$made = $this->sent([self::listed('Letters/a', 'one'), self::listed('b', '', 5)], 'one');
		self::assertSame(
			[
				['path' => 'Letters/a', 'fileid' => '40', 'etag' => 'etag of second 1700000000'],
				['path' => 'b', 'fileid' => '42', 'etag' => 'etag of second 5'],
			],
			$made,
		);
		self::assertSame('one', $this->letters->within['a']->content);
	}

	public function testWhatLiesThereStays(): void {
		$made = $this->sent([self::listed('note', 'other'), self::listed('Letters', 'x'), self::listed('new', 'y')], 'otherxy');
		self::assertSame(['new'], array_column($made, 'path'));
		self::assertSame('mine', $this->home->within['note']->content);
		self::assertSame($this->letters, $this->home->within['Letters']);
	}

	public function testOneThatCannotBeMadeDoesNoHarmToItsNeighbours(): void {
		$this->letters->isCreatable = false;
		$list = [
			self::listed('Letters/a', '1'), self::listed('gone/a', '2'), self::listed('note/a', '3'),
			self::listed('.htaccess', '4'), ['sha256' => hash('sha256', 'other')] + self::listed('mangled', '5'),
			self::listed('good', '6'),
		];
		self::assertSame(['good'], array_column($this->sent($list, '123456'), 'path'));
	}

	public function testWhereNothingMayBeChangedAFileIsMadeAllTheSame(): void {
		$this->letters->mayUpdate = false;
		self::assertSame(['etag of second 0'], array_column($this->sent([self::listed('Letters/a', '1')], '1'), 'etag'));
	}

	public function testABodyThatIsCutOffEndsWithWhatCameWhole(): void {
		$made = $this->sent([self::listed('a', 'whole'), self::listed('b', 'half')], 'wholeha');
		self::assertSame(['a'], array_column($made, 'path'));
		self::assertArrayNotHasKey('b', $this->home->within);
	}

	/** @return list<array{mixed}> */
	public static function nonsense(): array {
		$wrong = static fn (string $key, mixed $value): array => [[[$key => $value] + self::listed('a', 'x')]];
		return [
			[''], ['no JSON'], ['{"a": 1}'], ['[1]'], ['[[[[[[1]]]]]]'], [array_fill(0, 501, self::listed('a', ''))],
			$wrong('path', '/a'), $wrong('path', 'a/../b'), $wrong('path', './a'), $wrong('path', ''), $wrong('path', 1),
			$wrong('size', -1), $wrong('size', 1048577), $wrong('size', '1'), $wrong('mtime', 0), $wrong('mtime', 1.5),
			$wrong('sha256', 'x'), $wrong('sha256', str_repeat('a', 64) . "\n"), $wrong('sha256', null),
		];
	}

	/** @dataProvider nonsense */
	public function testNonsenseIsRefusedBeforeAnythingIsMade(mixed $list): void {
		try {
			$this->sent($list, 'x');
			self::fail('it was taken');
		} catch (\InvalidArgumentException $e) {
			self::assertMatchesRegularExpression('/^(each file needs|the body begins with)/', $e->getMessage());
		}
		self::assertCount(2, $this->home->within);
	}
}
