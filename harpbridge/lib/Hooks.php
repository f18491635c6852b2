<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCA\Files_Trashbin\Events\NodeRestoredEvent;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Journal\Change;
use OCA\HarpBridge\Journal\Changes;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\Journal\Kind;
use OCA\HarpBridge\Journal\Place;
use OCA\HarpBridge\Journal\Places;
use OCP\EventDispatcher\Event;
use OCP\EventDispatcher\IEventListener;
use OCP\Files\Cache\AbstractCacheEvent;
use OCP\Files\Cache\CacheEntryInsertedEvent;
use OCP\Files\Cache\CacheEntryRemovedEvent;
use OCP\Files\Cache\CacheEntryUpdatedEvent;
use OCP\Files\Events\Node\AbstractNodeEvent;
use OCP\Files\Events\Node\AbstractNodesEvent;
use OCP\Files\Events\Node\NodeDeletedEvent;
use OCP\Files\Events\Node\NodeRenamedEvent;
use OCP\Files\Events\Node\NodeWrittenEvent;
use OCP\Files\FileInfo;
use Psr\Log\LoggerInterface;

/**
 * What Nextcloud tells about files meets here, is collected, and leaves at the end of the request as one INSERT into the
 * journal and one datagram. No error leaves it, and nothing in it waits for anybody.
 *
 * @template-implements IEventListener<Event>
 */
class Hooks implements IEventListener {
	/**
	 * Each event that is listened to, by the old hook whose typed twin it is; scans have no such hook.
	 *
	 * NodeCreated and NodeCopied come with a NodeWritten; a restore from the trash comes with none of them.
	 */
	public const EVENTS = [
		'post_write' => NodeWrittenEvent::class,
		'post_rename' => NodeRenamedEvent::class,
		'post_delete' => NodeDeletedEvent::class,
		'post_restore' => NodeRestoredEvent::class,
		'cache inserted' => CacheEntryInsertedEvent::class,
		'cache updated' => CacheEntryUpdatedEvent::class,
		'cache removed' => CacheEntryRemovedEvent::class,
	];

	/** A scan of a million files must not be remembered whole. */
	private const MOST = 500;
	/** Nor must a process that runs for hours keep to itself what it did, in seconds. */
	private const LONGEST = 1;

	private Changes $changes;
	private bool $ends = false;
	private int $unsaid = 0;

	public function __construct(
		private Places $places,
		private Journal $journal,
		private Datagram $datagram,
		private Config $config,
		private LoggerInterface $logger,
	) {
		$this->changes = new Changes();
	}

	public function handle(Event $event): void {
		$this->onFileChange($event);
	}

	/** The one place where all events about files meet. */
	public function onFileChange(Event $event): void {
		try {
			$this->collect($event);
		} catch (\Throwable $e) {
			$this->complain('An event about a file could not be understood', $e);
		}
	}

	/**
	 * Write what was collected, and call the daemon. Nextcloud runs it when the request has been answered.
	 *
	 * @return bool whether anything was written
	 */
	public function atEndOfRequest(): bool {
		$isWritten = $this->flush();
		$this->call();
		return $isWritten;
	}

	private function collect(Event $event): void {
		$change = $this->changeOf($event);
		if ($change === null) {
			return;
		}
		$this->changes->add($change);
		if (!$this->ends) {
			$this->ends = true;
			register_shutdown_function([$this, 'atEndOfRequest']);
		}
		$isLong = PHP_SAPI === 'cli' && $change->at - ($this->changes->since() ?? $change->at) > self::LONGEST;
		if ($isLong || $this->changes->count() >= self::MOST) {
			$this->flush();
			// In the midst of a transaction there is nothing to read yet.
			if ($this->journal->isReadable()) {
				$this->call();
			}
		}
	}

	private function changeOf(Event $event): ?Change {
		return match (true) {
			$event instanceof AbstractCacheEvent => $this->ofCache($event),
			$event instanceof NodeRenamedEvent => $this->ofRename($event),
			$event instanceof NodeWrittenEvent => $this->ofNode(Kind::Written, $event),
			$event instanceof NodeDeletedEvent => $this->ofNode(Kind::Deleted, $event),
			$event instanceof NodeRestoredEvent && $event instanceof AbstractNodesEvent
				=> $this->change(Kind::Restored, $event->getTarget()),
			default => null,
		};
	}

	private function ofCache(AbstractCacheEvent $event): ?Change {
		$place = $this->places->of($event->getStorage(), $event->getPath(), $event->getStorageId());
		if ($place === null) {
			return null;
		}
		$kind = $event instanceof CacheEntryRemovedEvent ? Kind::Deleted : Kind::Changed;
		return new Change($kind, $event->getFileId(), $place, time(), isFromCache: true);
	}

	private function ofNode(Kind $kind, AbstractNodeEvent $event): ?Change {
		return $this->change($kind, $event->getNode());
	}

	private function ofRename(NodeRenamedEvent $event): ?Change {
		// The source is no more and has no id; its path says where it was.
		$from = $this->places->ofPath($event->getSource()->getPath());
		$target = $this->change(Kind::Renamed, $event->getTarget(), $from);
		if ($target !== null && $from === null) {
			// Out of where nobody looks: for those who see it, it is new.
			return $this->change(Kind::Written, $event->getTarget());
		}
		return $target;
	}

	private function change(Kind $kind, FileInfo $node, ?Place $from = null): ?Change {
		$place = $this->places->ofInfo($node);
		if ($place === null) {
			return null;
		}
		return new Change($kind, (int)$node->getId(), $place, time(), (string)$node->getEtag(), $from);
	}

	private function flush(): bool {
		$changes = $this->changes->take();
		if ($changes === []) {
			return false;
		}
		try {
			$this->unsaid = $this->journal->append($changes);
			return true;
		} catch (\Throwable $e) {
			$this->complain('The journal cannot be written; see occ harpbridge:self-test', $e);
			return false;
		}
	}

	private function call(): void {
		if ($this->unsaid === 0) {
			return;
		}
		try {
			$this->datagram->send($this->config->bridgeSocket(), $this->unsaid);
			$this->unsaid = 0;
		} catch (\Throwable $e) {
			$this->complain('The daemon cannot be called; see occ harpbridge:self-test', $e);
		}
	}

	private function complain(string $what, \Throwable $e): void {
		try {
			$this->logger->warning($what, ['app' => 'harpbridge', 'exception' => $e]);
		} catch (\Throwable) {
			// The person's request counts, not our complaint.
		}
	}
}
