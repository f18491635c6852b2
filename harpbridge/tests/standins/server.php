<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

/** The server around the files: settings and a log. */

namespace OCP {
	class IAppConfig {
		/** @param array<string, mixed> $values */
		public function __construct(
			public array $values = [],
		) {
		}

		public function getValueString(string $app, string $key, string $default = '', bool $lazy = false): string {
			return $this->values[$key] ?? $default;
		}

		public function setValueString(string $app, string $key, string $value, bool $lazy = false, bool $sensitive = false): bool {
			$this->values[$key] = $value;
			return true;
		}

		public function getValueInt(string $app, string $key, int $default = 0, bool $lazy = false): int {
			return $this->values[$key] ?? $default;
		}

		public function setValueInt(string $app, string $key, int $value, bool $lazy = false, bool $sensitive = false): bool {
			$this->values[$key] = $value;
			return true;
		}
	}
}

namespace OCP\Config {
	interface IUserConfig {
		public function getValueInt(string $userId, string $app, string $key, int $default = 0, bool $lazy = false): int;
	}
}

namespace OCP\AppFramework\Utility {
	interface ITimeFactory {
		public function getTime(): int;
	}
}

namespace Psr\Log {
	interface LoggerInterface {
		/** @param array<string, mixed> $context */
		public function info(string $message, array $context = []): void;

		/** @param array<string, mixed> $context */
		public function warning(string $message, array $context = []): void;
	}
}
