<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

/** One line of the self-test; a failed one says what to do. */
final class Check {
	public function __construct(
		/** By which a program knows it; the same in each language. */
		public readonly string $name,
		/** The same for a person. */
		public readonly string $title,
		public readonly bool $ok,
		public readonly string $text,
		public readonly string $remedy = '',
	) {
	}

	/** @return array{name: string, title: string, ok: bool, text: string, remedy: string} */
	public function fields(): array {
		return ['name' => $this->name, 'title' => $this->title, 'ok' => $this->ok, 'text' => $this->text, 'remedy' => $this->remedy];
	}
}
