<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCP\INavigationManager;
use OCP\IURLGenerator;
use OCP\L10N\IFactory;

/** "Harp" in Nextcloud's menu, where the console has been set up. */
class Navigation {
	public function __construct(
		private INavigationManager $menu,
		private IURLGenerator $urls,
		private IFactory $languages,
	) {
	}

	/** Runs on every request: what the entry says is made only where a menu is shown. */
	public function show(): void {
		$this->menu->add($this->entry(...));
	}

	/** @return array{id: string, app: string, type: string, order: int, href: string, icon: string, name: string} */
	public function entry(): array {
		return [
			'id' => Config::APP,
			'app' => Config::APP,
			'type' => 'link',
			'order' => 60,
			'href' => $this->urls->linkToRoute('harpbridge.console.enter'),
			'icon' => $this->urls->imagePath(Config::APP, 'app.svg'),
			'name' => $this->languages->get(Config::APP)->t('Harp'),
		];
	}
}
