<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

/** Files, storages, mounts and the events about them, with no more than the app asks of them. */

namespace OCP\EventDispatcher {
	class Event {
	}
	interface IEventListener {
		public function handle(Event $event): void;
	}
}

namespace OCP\Files\Storage {
	class IStorage {
		/** @param list<string> $is */
		public function __construct(
			private int $numeric,
			private array $is = [],
			private ?IStorage $jailed = null,
			private string $root = '',
		) {
		}

		public function instanceOfStorage(string $class): bool {
			return in_array($class, $this->is, true) || ($this->jailed?->instanceOfStorage($class) ?? false);
		}

		public function getUnjailedPath(string $path): string {
			return trim($this->root . '/' . $path, '/');
		}

		public function getUnjailedStorage(): IStorage {
			return $this->jailed ?? $this;
		}

		public function getCache(): self {
			return $this;
		}

		public function getNumericStorageId(): int {
			return $this->numeric;
		}
	}
}

namespace OCP\Files {
	interface IHomeStorage {
	}
	interface FileInfo {
	}
	class Node implements FileInfo {
		public function __construct(
			private string $path,
			private ?Storage\IStorage $storage = null,
			private string $internal = '',
			private ?int $id = null,
			private string $etag = '',
		) {
		}

		public function getPath(): string {
			return $this->path;
		}

		public function getStorage(): Storage\IStorage {
			return $this->storage ?? throw new \RuntimeException('not found');
		}

		public function getInternalPath(): string {
			return $this->internal;
		}

		public function getId(): int {
			return $this->id ?? throw new \RuntimeException('not found');
		}

		public function getEtag(): string {
			return $this->etag;
		}
	}
}

namespace OCP\Files\Events\Node {
	use OCP\EventDispatcher\Event;
	use OCP\Files\Node;

	class AbstractNodeEvent extends Event {
		public function __construct(
			private Node $node,
		) {
		}

		public function getNode(): Node {
			return $this->node;
		}
	}
	class AbstractNodesEvent extends Event {
		public function __construct(
			private Node $source,
			private Node $target,
		) {
		}

		public function getSource(): Node {
			return $this->source;
		}

		public function getTarget(): Node {
			return $this->target;
		}
	}
	class NodeWrittenEvent extends AbstractNodeEvent {
	}
	class NodeDeletedEvent extends AbstractNodeEvent {
	}
	class NodeRenamedEvent extends AbstractNodesEvent {
	}
}

namespace OCA\Files_Trashbin\Events {
	class NodeRestoredEvent extends \OCP\Files\Events\Node\AbstractNodesEvent {
	}
}

namespace OCP\Files\Cache {
	use OCP\Files\Storage\IStorage;

	class AbstractCacheEvent extends \OCP\EventDispatcher\Event {
		public function __construct(
			private IStorage $storage,
			private string $path,
			private int $fileId,
			private int $storageId,
		) {
		}

		public function getStorage(): IStorage {
			return $this->storage;
		}

		public function getPath(): string {
			return $this->path;
		}

		public function getFileId(): int {
			return $this->fileId;
		}

		public function getStorageId(): int {
			return $this->storageId;
		}
	}
	class CacheEntryInsertedEvent extends AbstractCacheEvent {
	}
	class CacheEntryUpdatedEvent extends AbstractCacheEvent {
	}
	class CacheEntryRemovedEvent extends AbstractCacheEvent {
	}
}

namespace OCP\Files\Mount {
	interface IMountManager {
		public function find(string $path): mixed;
	}
	/** One mount for all: `/alice/` on a home storage. */
	class OneMount implements IMountManager {
		public function __construct(
			private \OCP\Files\Storage\IStorage $storage,
			private string $at,
		) {
		}

		public function find(string $path): ?self {
			return str_starts_with($path . '/', $this->at) ? $this : null;
		}

		public function getStorage(): \OCP\Files\Storage\IStorage {
			return $this->storage;
		}

		public function getInternalPath(string $path): string {
			return substr($path, strlen($this->at));
		}
	}
}
