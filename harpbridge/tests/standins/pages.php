<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

/** Pages: who is there, where addresses lead, what a controller answers. */

namespace OCP {
	interface IRequest {
	}

	interface IUser {
		public function getUID(): string;
	}

	interface IUserSession {
		public function getUser(): ?IUser;
	}

	interface IGroupManager {
		public function isAdmin(string $userId): bool;
	}

	interface IURLGenerator {
		public function linkToRoute(string $name): string;

		public function imagePath(string $app, string $file): string;

		public function linkToDefaultPageUrl(): string;
	}

	interface IL10N {
		/** @param array<mixed>|string $parameters */
		public function t(string $text, $parameters = []): string;

		/** @param array<mixed> $parameters */
		public function n(string $text_singular, string $text_plural, int $count, array $parameters = []): string;

		public function getLanguageCode(): string;
	}

	interface INavigationManager {
		public function add(callable $entry): void;
	}
}

namespace OCP\L10N {
	interface IFactory {
		public function get(string $app): \OCP\IL10N;
	}
}

namespace OCP\AppFramework {
	class Controller {
		public function __construct(
			protected string $appName,
			protected \OCP\IRequest $request,
		) {
		}
	}

	class Http {
		public const STATUS_SERVICE_UNAVAILABLE = 503;
	}
}

namespace OCP\AppFramework\Http {
	class Response {
		public int $status = 200;

		public function setStatus(int $status): static {
			$this->status = $status;
			return $this;
		}
	}

	class RedirectResponse extends Response {
		public function __construct(
			public string $url,
		) {
			$this->status = 303;
		}
	}

	class TemplateResponse extends Response {
		/** @param array<string, mixed> $values */
		public function __construct(
			public string $app,
			public string $template,
			public array $values,
		) {
		}
	}
}
