package main

import (
	"fmt"
	"log/slog"
	"strings"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/secretfile"
)

// serviceAccountToken is where Kubernetes puts the token of a pod's service account.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// vault collects the settings of OpenBao and Vault; nil if no way to log in is set.
func (s *settings) vault(logger *slog.Logger) (*app.Vault, error) {
	if s.server != nil {
		return s.server, nil
	}
	for _, f := range []struct{ name, value, needs, other string }{
		{"vault-role-id-file", s.VaultRoleIDFile, "vault-secret-id-file", s.VaultSecretIDFile},
		{"vault-secret-id-file", s.VaultSecretIDFile, "vault-role-id-file", s.VaultRoleIDFile},
		{"vault-jwt-role", s.VaultJWTRole, "vault-jwt-file", s.VaultJWTFile},
		{"vault-jwt-file", s.VaultJWTFile, "vault-jwt-role or --vault-kubernetes-role", s.VaultJWTRole + s.VaultKubernetesRole},
	} {
		if f.value != "" && f.other == "" {
			return nil, s.given.Wrong(f.name, f.value, "needs --"+f.needs)
		}
	}
	var ways []string
	for _, f := range []struct{ name, value string }{
		{"vault-token-file", s.VaultTokenFile}, {"vault-role-id-file", s.VaultRoleIDFile},
		{"vault-kubernetes-role", s.VaultKubernetesRole}, {"vault-jwt-role", s.VaultJWTRole},
	} {
		if f.value != "" {
			ways = append(ways, f.name)
		}
	}
	if len(ways) > 1 {
		return nil, s.given.Wrong(ways[1], "", fmt.Sprintf("must not be set with --%s: there is one way to log in", ways[0]))
	}
	v := &app.Vault{Address: s.VaultAddress, Namespace: s.VaultNamespace, CAFile: s.VaultCAFile, Mount: s.VaultMount}
	if v.CAFile != "" {
		if _, err := s.authorities("vault-ca-file", v.CAFile, logger); err != nil {
			return nil, err
		}
	}
	var found bool
	var err error
	if v.Login, found, err = s.vaultLogin(logger); err != nil || !found {
		return nil, err
	}
	if v.Address == "" {
		v.Address = openbao.DefaultAddress()
		if v.Address == "" {
			return nil, s.given.Wrong("vault-address", "", "must be set, or the variable BAO_ADDR or VAULT_ADDR")
		}
		if right := config.CheckVaultAddress(v.Address); right != "" {
			return nil, &config.Error{Setting: "vault-address", Source: "BAO_ADDR or VAULT_ADDR", Value: v.Address, Want: right}
		}
	}
	s.server = v
	return v, nil
}

// vaultLogin opens the files of the log-in. Without one, the token of the servers' own
// variables is used.
func (s *settings) vaultLogin(logger *slog.Logger) (login openbao.Login, found bool, err error) {
	switch {
	case s.VaultTokenFile != "":
		token, err := s.secretFile("vault-token-file", s.VaultTokenFile, secretfile.Token, logger)
		if err != nil {
			return login, false, err
		}
		return openbao.WithToken(token.Get), true, nil
	case s.VaultRoleIDFile != "":
		role, err := s.secretFile("vault-role-id-file", s.VaultRoleIDFile, secretfile.Token, logger)
		if err != nil {
			return login, false, err
		}
		id, err := s.secretFile("vault-secret-id-file", s.VaultSecretIDFile, secretfile.Token, logger)
		if err != nil {
			return login, false, err
		}
		return openbao.WithAppRole(s.VaultAuthMount, role.Get, id.Get), true, nil
	case s.VaultKubernetesRole != "":
		path := s.VaultJWTFile
		if path == "" {
			path = serviceAccountToken
		}
		token, err := s.jwtFile("vault-kubernetes-role", path, logger)
		if err != nil {
			return login, false, err
		}
		return openbao.WithKubernetes(s.VaultAuthMount, s.VaultKubernetesRole, token.Get), true, nil
	case s.VaultJWTRole != "":
		token, err := s.jwtFile("vault-jwt-file", s.VaultJWTFile, logger)
		if err != nil {
			return login, false, err
		}
		return openbao.WithJWT(s.VaultAuthMount, s.VaultJWTRole, token.Get), true, nil
	}
	if token := openbao.DefaultToken(); !token.IsZero() {
		return openbao.WithToken(func() secret.String { return token }), true, nil
	}
	return login, false, nil
}

// jwtFile opens a file with a token that the platform writes and replaces. The platform
// decides who can read it, so its permissions are not checked.
func (s *settings) jwtFile(name, path string, logger *slog.Logger) (*secretfile.File, error) {
	f, err := secretfile.Watch(name, secretfile.AtOnce, logger, func() (secret.String, error) {
		doc, err := secretfile.ReadPublic(path, maxJWT)
		if err != nil {
			return secret.String{}, err
		}
		text := strings.TrimSpace(string(doc))
		if len(text) == 0 || strings.ContainsAny(text, " \n\t") {
			return secret.String{}, fmt.Errorf("%s does not hold one token of at most %d bytes", path, maxJWT)
		}
		return secret.New(text), nil
	}, path)
	if err != nil {
		return nil, s.given.Wrong(name, "", err.Error())
	}
	s.watch(f)
	return f, nil
}

// maxJWT is the maximum size of a signed token; those of Kubernetes have about 1 KiB.
const maxJWT = 16 << 10
