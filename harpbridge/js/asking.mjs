// SPDX-License-Identifier: AGPL-3.0-or-later
/** What both pages need: elements, dialogs, and requests that ask for the password where the server wants it. */

/** An element with its attributes and children; text is text, never markup. */
export function element(name, attributes = {}, ...children) {
	const made = document.createElement(name)
	for (const [key, value] of Object.entries(attributes)) {
		if (typeof value === 'function') {
			made.addEventListener(key, value)
		} else if (typeof value === 'boolean') {
			made.toggleAttribute(key, value)
		} else {
			made.setAttribute(key, value)
		}
	}
	made.append(...children)
	return made
}

/** Show a dialog until one of its buttons is pressed; resolves to that button's value, '' where it was dismissed. */
export function ask(content, buttons) {
	return new Promise((resolve) => {
		const row = element('p', {}, ...buttons.map(([value, text]) => element('button', { value }, text)))
		const dialog = element('dialog', { class: 'harpbridge-dialog' }, element('form', { method: 'dialog' }, ...content, row))
		dialog.addEventListener('close', () => {
			dialog.remove()
			resolve(dialog.returnValue)
		})
		document.body.append(dialog)
		dialog.showModal()
	})
}

/** Requests to the server's OCS, for one page: `section` says where, and in which words. */
export class Server {
	constructor(section) {
		this.words = JSON.parse(section.dataset.words)
		this.url = section.dataset.url
		this.confirmUrl = section.dataset.confirm
	}

	/** The data of the answer; throws an Error whose message is for a person. */
	async send(method, path = '', fields = undefined) {
		let response = await this.#fetch(method, this.url + path, fields)
		if (response.status === 403 && await this.#wantsPassword(response)) {
			await this.#confirm()
			response = await this.#fetch(method, this.url + path, fields)
		}
		const said = await response.json().catch(() => null)
		const data = said?.ocs?.data ?? {}
		if (!response.ok) {
			const lines = [data.message, data.hint].filter(Boolean)
			throw new Error(lines.length ? lines.join(' – ') : this.words.failed)
		}
		return data
	}

	#fetch(method, url, fields) {
		return fetch(url, {
			method,
			credentials: 'same-origin',
			headers: {
				Accept: 'application/json',
				'OCS-APIRequest': 'true',
				requesttoken: document.head.dataset.requesttoken,
				...(fields === undefined ? {} : { 'Content-Type': 'application/json' }),
			},
			body: fields === undefined ? undefined : JSON.stringify(fields),
		})
	}

	async #wantsPassword(response) {
		const said = await response.clone().json().catch(() => null)
		return /password/i.test(said?.ocs?.meta?.message ?? said?.message ?? '')
	}

	async #confirm() {
		for (;;) {
			const password = element('input', { type: 'password', autocomplete: 'current-password', autofocus: true })
			const content = [element('label', {}, this.words.confirm, password)]
			if (await ask(content, [['ok', this.words.ok], ['', this.words.cancel]]) !== 'ok') {
				throw new Error(this.words.failed)
			}
			const response = await this.#fetch('POST', this.confirmUrl, { password: password.value })
			if (response.ok) {
				return
			}
			await ask([element('p', {}, this.words.wrong)], [['ok', this.words.ok]])
		}
	}
}
