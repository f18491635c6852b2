<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Tests;

use OCA\Files_Trashbin\Events\NodeRestoredEvent;
use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Daemon\Delivery;
use OCA\HarpBridge\Hooks;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\Journal\Places;
use OCA\HarpBridge\StandIns\Database;
use OCA\HarpBridge\StandIns\Words;
use OCP\EventDispatcher\Event;
use OCP\Files\Cache\CacheEntryInsertedEvent;
use OCP\Files\Cache\CacheEntryUpdatedEvent;
use OCP\Files\Events\Node\NodeDeletedEvent;
use OCP\Files\Events\Node\NodeRenamedEvent;
use OCP\Files\Events\Node\NodeWrittenEvent;
use OCP\Files\IHomeStorage;
use OCP\Files\Mount\OneMount;
use OCP\Files\Node;
use OCP\Files\Storage\IStorage;
use OCP\IAppConfig;
use PHPUnit\Framework\TestCase;
use Psr\Log\LoggerInterface;

/** From Nextcloud's events to one INSERT and one datagram. */
class HooksTest extends TestCase {
	private IStorage $home;
	private Database $db;
	/** @var list<array{string, int}> */
	private array $sent = [];
	/** @var list<string> */
	private array $logged = [];

	protected function setUp(): void {
		$this->home = new IStorage(1, [IHomeStorage::class]);
		$this->db = (new Database())->makeJournal();
	}

	private function hooks(): Hooks {
		$datagram = $this->createStub(Datagram::class);
		$datagram->method('send')->willReturnCallback(function (string $socket, int $last): Delivery {
			$this->sent[] = [$socket, $last];
			return Delivery::Sent;
		});
		$logger = $this->createStub(LoggerInterface::class);
		$logger->method('warning')->willReturnCallback(function (string $message): void {
			$this->logged[] = $message;
		});
		$places = new Places(new OneMount($this->home, '/alice/'));
		return new Hooks($places, new Journal($this->db), $datagram, new Config(new IAppConfig(), new Words()), $logger);
	}

	private function file(string $path, int $id, string $etag = 'e'): Node {
		return new Node('/alice/files/' . $path, $this->home, 'files/' . $path, $id, $etag);
	}

	public function testAnUploadIsOneInsertAndOneDatagram(): void {
		$hooks = $this->hooks();
		$hooks->handle(new CacheEntryInsertedEvent($this->home, 'files/a/x', 7, 1));
		$hooks->handle(new CacheEntryUpdatedEvent($this->home, 'files/a', 3, 1));
		$hooks->handle(new CacheEntryUpdatedEvent($this->home, 'files', 2, 1));
		$hooks->handle(new NodeWrittenEvent($this->file('a/x', 7, 'e7')));
		self::assertSame([], $this->db->said, 'nothing is written while the person waits');
		$hooks->atEndOfRequest();
		self::assertCount(1, $this->db->said);
		self::assertSame([[Config::BRIDGE_SOCKET, 1]], $this->sent);
		$row = $this->db->rows()[0];
		self::assertSame(['written', 7, 1, 'files/a/x', 'e7'], [$row['kind'], $row['fileid'], $row['storage'], $row['path'], $row['etag']]);
	}

	public function testItTellsWhetherAnythingWasWritten(): void {
		$hooks = $this->hooks();
		self::assertFalse($hooks->atEndOfRequest(), 'nothing happened');
		$hooks->handle(new NodeWrittenEvent($this->file('a', 7)));
		self::assertTrue($hooks->atEndOfRequest());
		$this->db->pdo->exec('DROP TABLE oc_harpbridge_journal');
		$hooks->handle(new NodeWrittenEvent($this->file('a', 7)));
		self::assertFalse($hooks->atEndOfRequest(), 'the journal cannot be written');
	}

	public function testARequestInWhichNothingHappenedCostsNothing(): void {
		$hooks = $this->hooks();
		$hooks->handle(new Event());
		$hooks->handle(new CacheEntryUpdatedEvent($this->home, 'files_versions/x', 7, 1));
		$hooks->atEndOfRequest();
		self::assertSame([[], []], [$this->db->said, $this->sent]);
	}

	public function testAMoveSaysFromWhereThoughItsSourceIsNoMore(): void {
		$hooks = $this->hooks();
		$hooks->handle(new NodeRenamedEvent(new Node('/alice/files/old'), $this->file('new', 7)));
		$hooks->atEndOfRequest();
		$row = $this->db->rows()[0];
		self::assertSame(['renamed', 'files/new', 'files/old', 1], [$row['kind'], $row['path'], $row['from_path'], $row['from_storage']]);
	}

	public function testDeletedAndRestoredAreTwoRowsOfOneStatement(): void {
		$hooks = $this->hooks();
		$hooks->handle(new NodeDeletedEvent($this->file('x', 7)));
		$hooks->handle(new NodeRestoredEvent(new Node('/alice/files_trashbin/files/x.d1'), $this->file('x', 7)));
		$hooks->atEndOfRequest();
		self::assertSame(['deleted', 'restored'], array_column($this->db->rows(), 'kind'));
		self::assertCount(1, $this->db->said);
		self::assertSame(2, $this->sent[0][1]);
	}

	public function testNoErrorLeavesIt(): void {
		$hooks = $this->hooks();
		$hooks->handle(new NodeWrittenEvent(new Node('/alice/files/gone')));
		$this->db->pdo->exec('DROP TABLE oc_harpbridge_journal');
		$hooks->handle(new NodeWrittenEvent($this->file('x', 7)));
		$hooks->atEndOfRequest();
		self::assertCount(2, $this->logged);
		self::assertSame([], $this->sent);
	}

	public function testALogThatFailsTooIsNoError(): void {
		$logger = $this->createStub(LoggerInterface::class);
		$logger->method('warning')->willThrowException(new \RuntimeException('disk full'));
		$hooks = new Hooks(
			new Places(new OneMount($this->home, '/alice/')), new Journal($this->db),
			$this->createStub(Datagram::class), new Config(new IAppConfig(), new Words()), $logger,
		);
		$hooks->handle(new NodeWrittenEvent(new Node('/alice/files/gone')));
		$hooks->atEndOfRequest();
		self::assertSame([], $this->db->said);
	}

	public function testThePersonsTransactionSurvivesAJournalThatDoesNot(): void {
		$this->db->pdo->exec('DROP TABLE oc_harpbridge_journal');
		$hooks = $this->hooks();
		$this->db->beginTransaction();
		$this->db->executeStatement('INSERT INTO *PREFIX*person (did) VALUES (?)', ['a wedding photo']);
		$hooks->handle(new NodeWrittenEvent($this->file('x', 7)));
		$hooks->atEndOfRequest();
		$this->db->commit();
		self::assertSame('a wedding photo', $this->db->pdo->query('SELECT did FROM oc_person')->fetchColumn());
		self::assertCount(1, $this->logged);
	}

	public function testALongScanIsWrittenInPartsAndItsLastIdIsTold(): void {
		$hooks = $this->hooks();
		for ($id = 1; $id <= 1100; $id++) {
			$hooks->handle(new CacheEntryInsertedEvent($this->home, "files/$id", $id, 1));
		}
		self::assertCount(1000, $this->db->rows(), 'no more than five hundred are remembered');
		$hooks->atEndOfRequest();
		self::assertCount(1100, $this->db->rows());
		self::assertSame([500, 1000, 1100], array_column($this->sent, 1));
	}

	public function testAScanInATransactionIsNotToldBeforeItCanBeRead(): void {
		$hooks = $this->hooks();
		$this->db->beginTransaction();
		for ($id = 1; $id <= 500; $id++) {
			$hooks->handle(new CacheEntryInsertedEvent($this->home, "files/$id", $id, 1));
		}
		self::assertSame([], $this->sent);
		$this->db->commit();
		$hooks->atEndOfRequest();
		self::assertSame([500], array_column($this->sent, 1));
	}

	public function testItListensToThePostWriteOfOldAndToWhatHasNoHook(): void {
		self::assertSame(NodeWrittenEvent::class, Hooks::EVENTS['post_write']);
		self::assertContains(CacheEntryInsertedEvent::class, Hooks::EVENTS);
	}
}
