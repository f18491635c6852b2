<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\NewFiles;

/** Many small files in the body of one request: a line of JSON that lists them, then their contents, one behind the other. */
final class Parcel {
	public const MOST_BYTES = 1048576;
	private const MOST_FILES = 500;
	private const LONGEST_LIST = 2097152;

	/**
	 * @param resource $body
	 * @param list<NewFile> $list
	 */
	private function __construct(
		private $body,
		private array $list,
	) {
	}

	/**
	 * @param resource $body at its begin
	 * @throws \InvalidArgumentException where the list is not what it should be
	 */
	public static function of($body): self {
		$line = fgets($body, self::LONGEST_LIST);
		$told = is_string($line) && str_ends_with($line, "\n") ? json_decode($line, true, 4) : null;
		if (!is_array($told) || !array_is_list($told) || count($told) > self::MOST_FILES) {
			throw new \InvalidArgumentException(
				'the body begins with one line of JSON, a list of at most ' . self::MOST_FILES . ' files'
			);
		}
		return new self($body, array_map(NewFile::of(...), $told));
	}

	/**
	 * Each file with its content, one in memory at a time. A body that is cut off ends it.
	 *
	 * @return \Generator<NewFile, string>
	 */
	public function contents(): \Generator {
		foreach ($this->list as $file) {
			$content = $file->size > 0 ? stream_get_contents($this->body, $file->size) : '';
			if ($content === false || strlen($content) !== $file->size) {
				return;
			}
			yield $file => $content;
		}
	}
}
