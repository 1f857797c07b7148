package openbao

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"invoicebox-worker/internal/keyset"
)

// wrapWithin bounds the wrapping of a keyset, log-in included.
const wrapWithin = 15 * time.Second

// A Transit wraps keysets with a key of the transit engine, which never leaves the
// server. It is safe for concurrent use.
type Transit struct {
	*connection
	mount, key string
}

var _ keyset.Wrapper = (*Transit)(nil)

// NewTransit creates a wrapper with a key named as MOUNT/KEY. It does not use Name, Mount
// and Keys of the configuration. It sends nothing.
func NewTransit(c Config, key string) (*Transit, error) {
	at := strings.LastIndexByte(key, '/')
	if at <= 0 || at == len(key)-1 {
		return nil, fmt.Errorf("%q must be MOUNT/KEY, a key of a transit engine", key)
	}
	conn, err := connect(c)
	if err != nil {
		return nil, err
	}
	return &Transit{connection: conn, mount: key[:at], key: key[at+1:]}, nil
}

// Name returns the key, as MOUNT/KEY.
func (t *Transit) Name() string { return t.mount + "/" + t.key }

// EncryptWithContext encrypts with the newest version of the key.
func (t *Transit) EncryptWithContext(ctx context.Context, text, bound []byte) ([]byte, error) {
	cipher, err := t.transform(ctx, "encrypt", bound, "plaintext", base64.StdEncoding.EncodeToString(text), "ciphertext")
	return []byte(cipher), err
}

// DecryptWithContext decrypts with the version of the key that encrypted.
func (t *Transit) DecryptWithContext(ctx context.Context, cipher, bound []byte) ([]byte, error) {
	text, err := t.transform(ctx, "decrypt", bound, "ciphertext", string(cipher), "plaintext")
	if err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, &RequestError{Operation: "decrypt", Path: t.path("decrypt"), Fault: FaultAnswer}
	}
	return plain, nil
}

func (t *Transit) path(operation string) string { return t.mount + "/" + operation + "/" + t.key }

func (t *Transit) transform(ctx context.Context, operation string, bound []byte, member, value, want string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wrapWithin)
	defer cancel()
	answer, err := t.request(ctx, operation, t.path(operation), func(ctx context.Context) (*api.Secret, error) {
		return t.client.Logical().WriteWithContext(ctx, t.path(operation), map[string]any{
			member: value, "associated_data": base64.StdEncoding.EncodeToString(bound),
		})
	})
	if fault, ok := errors.AsType[*RequestError](err); ok && fault.Fault == FaultRefused {
		return "", fmt.Errorf("%s: the server refuses to %s: the file was damaged, or wrapped with another key, or the key does not exist (status %d)", t.Name(), operation, fault.Status)
	}
	if err != nil {
		return "", err
	}
	if answer != nil {
		if out, ok := answer.Data[want].(string); ok && out != "" {
			return out, nil
		}
	}
	return "", &RequestError{Operation: operation, Path: t.path(operation), Fault: FaultAnswer}
}
