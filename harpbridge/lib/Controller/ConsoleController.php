<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Controller;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Sharing\Folders;
use OCP\AppFramework\Controller;
use OCP\AppFramework\Http;
use OCP\AppFramework\Http\Attribute\FrontpageRoute;
use OCP\AppFramework\Http\Attribute\NoAdminRequired;
use OCP\AppFramework\Http\Attribute\NoCSRFRequired;
use OCP\AppFramework\Http\RedirectResponse;
use OCP\AppFramework\Http\Response;
use OCP\AppFramework\Http\TemplateResponse;
use OCP\IGroupManager;
use OCP\IRequest;
use OCP\IURLGenerator;
use OCP\IUserSession;

/**
 * The way into the console: tells the daemon what this person may see, then leads to its pages.
 *
 * The pages come back here by themselves every few minutes. Who asks them the proxy says, not this page: opened by a link
 * of a stranger it gives nothing away.
 */
class ConsoleController extends Controller {
	public function __construct(
		string $appName,
		IRequest $request,
		private Client $daemon,
		private Folders $folders,
		private Config $config,
		private IUserSession $session,
		private IGroupManager $groups,
		private IURLGenerator $urls,
	) {
		parent::__construct($appName, $request);
	}

	#[NoAdminRequired]
	#[NoCSRFRequired]
	#[FrontpageRoute(verb: 'GET', url: '/console')]
	public function enter(string $to = '/'): Response {
		$user = $this->session->getUser();
		$path = $this->config->consolePath();
		if ($user === null || $path === '') {
			return new RedirectResponse($this->urls->linkToDefaultPageUrl());
		}
		$isAdmin = $this->groups->isAdmin($user->getUID());
		try {
			$this->daemon->send('POST', '/v1/console/guests', [
				'user' => $user->getUID(),
				'is_admin' => $isAdmin,
				'folders' => $this->folders->ids($user),
				'entry' => $this->urls->linkToRoute('harpbridge.console.enter'),
			]);
		} catch (DaemonError $e) {
			// Why is for whoever runs the server: it names files of it.
			$said = $isAdmin ? ['message' => $e->getMessage(), 'hint' => $e->hint] : ['message' => '', 'hint' => ''];
			$response = new TemplateResponse(Config::APP, 'console', $said);
			$response->setStatus(Http::STATUS_SERVICE_UNAVAILABLE);
			return $response;
		}
		return new RedirectResponse($path . 'in?to=' . rawurlencode($to));
	}
}
