package openbao

import (
	"cmp"

	"invoicebox-worker/internal/secret"
)

// A Login is a way to get a token. Its secrets are read at each log-in, so that the next
// log-in uses a changed file.
type Login struct {
	method string // for logs
	mount  string // where the method is enabled; "" for a configured token
	token  func() secret.String
	body   func() map[string]any
}

// WithToken uses an existing token. It is renewed if possible. An expired token is used
// until its file has another one.
func WithToken(token func() secret.String) Login { return Login{method: "token", token: token} }

// WithAppRole logs in with a role id and a secret id. Mount is where the method is
// enabled, "" for its default place; the same applies to the other methods.
func WithAppRole(mount string, roleID, secretID func() secret.String) Login {
	return Login{method: "approle", mount: cmp.Or(mount, "approle"), body: func() map[string]any {
		return map[string]any{"role_id": roleID().Reveal(), "secret_id": secretID().Reveal()}
	}}
}

// WithKubernetes logs in with the token of a service account.
func WithKubernetes(mount, role string, token func() secret.String) Login {
	return Login{method: "kubernetes", mount: cmp.Or(mount, "kubernetes"), body: func() map[string]any {
		return map[string]any{"role": role, "jwt": token().Reveal()}
	}}
}

// WithJWT logs in with a signed token of another issuer.
func WithJWT(mount, role string, token func() secret.String) Login {
	return Login{method: "jwt", mount: cmp.Or(mount, "jwt"), body: func() map[string]any {
		return map[string]any{"role": role, "jwt": token().Reveal()}
	}}
}
