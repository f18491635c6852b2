<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

/** A person's files in memory, with no more than the app asks of them. */

namespace OCP\Files {
	interface IFilenameValidator {
		public function isFilenameValid(string $filename): bool;
	}
	interface IRootFolder {
		public function getUserFolder(string $user): Folder;
	}
	class NotFoundException extends \Exception {
	}
	class NotPermittedException extends \Exception {
	}
	class File extends Node {
		public int $mtime = 0;
		public bool $isUpdateable = true;

		public function __construct(
			string $path,
			public readonly string $content,
			private int $number,
		) {
			parent::__construct($path);
		}

		public function isUpdateable(): bool {
			return $this->isUpdateable;
		}

		public function touch(int $mtime): void {
			if (!$this->isUpdateable) {
				throw new NotPermittedException();
			}
			$this->mtime = $mtime;
		}

		public function getId(): int {
			return $this->number;
		}

		public function getEtag(): string {
			return "etag of second $this->mtime";
		}
	}
	class Folder extends Node {
		/** @var array<string, Node> */
		public array $within = [];
		public bool $isCreatable = true;
		public bool $mayUpdate = true;

		public function get(string $path): Node {
			[$name, $rest] = explode('/', $path, 2) + [1 => ''];
			$found = $this->within[$name] ?? throw new NotFoundException($path);
			return $rest !== '' && $found instanceof Folder ? $found->get($rest) : $found;
		}

		public function nodeExists(string $path): bool {
			return isset($this->within[$path]);
		}

		public function newFile(string $path, string $content): File {
			if (!$this->isCreatable) {
				throw new NotPermittedException();
			}
			$made = new File($path, $content, 40 + count($this->within));
			$made->isUpdateable = $this->mayUpdate;
			return $this->within[$path] = $made;
		}
	}
}
