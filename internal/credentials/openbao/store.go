package openbao

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/openbao/openbao/api/v2"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

const (
	// MaxVersions is how many versions of a secret the server retains.
	MaxVersions = 10
	// schemaVersion is the version of the secret's members.
	schemaVersion = "1"
	// readyWithin bounds Ready, for which the calls of an account wait.
	readyWithin = 3 * time.Second
	// requestWithin bounds one request.
	requestWithin = 10 * time.Second
	// races is how often a write is tried again if another write for the same shop was
	// first.
	races = 5
)

// The members of a secret.
const (
	memberMerchant  = schemas.FieldMerchantID
	memberToken     = schemas.FieldToken
	memberAccount   = "account"
	memberShop      = "shopId"
	memberOperation = "operation"
	memberSchema    = "schema"
	memberProof     = "proof"
)

// Config configures a store.
type Config struct {
	Name      string // schemas.StoreOpenBao or schemas.StoreVault: the word before `://` of references
	Address   string // "": of the variables BAO_ADDR and VAULT_ADDR
	Namespace string // "": of the variables
	CAFile    string // "": of the variables, else the system's authorities
	Mount     string // of KV version 2
	Login     Login
	Keys      *keyset.Set // makes and compares proofs
	Metrics   *Metrics    // nil: not counted
	Logger    *slog.Logger
}

// A Store stores secrets in KV version 2. It is safe for concurrent use.
type Store struct {
	name, mount string
	keys        *keyset.Set
	*connection
	isKV2 atomic.Bool // the mount is known to be KV version 2
}

var _ credentials.Store = (*Store)(nil)

// DefaultAddress is the address in the servers' own variables; "" for none.
func DefaultAddress() string { return api.ReadBaoVariable(api.EnvVaultAddress) }

// DefaultToken is the token in the servers' own variables.
func DefaultToken() secret.String { return secret.New(api.ReadBaoVariable(api.EnvVaultToken)) }

// New creates a store. It sends nothing.
func New(c Config) (*Store, error) {
	conn, err := connect(c)
	if err != nil {
		return nil, err
	}
	return &Store{name: c.Name, mount: c.Mount, keys: c.Keys.Bind(""), connection: conn}, nil
}

// Name returns the scheme of the references that Prepare creates.
func (s *Store) Name() string { return s.name }

// Named returns the same store with another scheme in the references that Prepare creates.
func (s *Store) Named(name string) *Store {
	return &Store{name: name, mount: s.mount, keys: s.keys, connection: s.connection}
}

// A place is a path in a mount.
type place struct{ mount, path string }

func (p place) data() string     { return p.mount + "/data/" + p.path }
func (p place) metadata() string { return p.mount + "/metadata/" + p.path }
func (p place) destroy() string  { return p.mount + "/destroy/" + p.path }

func placeOf(ref schemas.Reference) place {
	return place{ref.Mount, strings.TrimPrefix(ref.Key(), ref.Mount+"/")}
}

// A version is a version of the secret at a place.
type version struct {
	number    int64          // 0: none was ever stored
	members   map[string]any // nil: deleted or destroyed
	destroyed bool
}

// read reads a version; 0 is the latest.
func (s *Store) read(ctx context.Context, at place, number int64) (version, error) {
	query := map[string][]string{}
	if number > 0 {
		query["version"] = []string{strconv.FormatInt(number, 10)}
	}
	answer, err := s.request(ctx, "read", at.data(), func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().ReadWithDataWithContext(ctx, at.data(), query)
	})
	if err != nil {
		return version{}, err
	}
	if answer == nil {
		return version{}, nil
	}
	metadata, _ := answer.Data["metadata"].(map[string]any)
	v := version{}
	n, ok := metadata["version"].(interface{ Int64() (int64, error) })
	if !ok {
		return v, &RequestError{Operation: "read", Path: at.data(), Fault: FaultAnswer}
	}
	if v.number, err = n.Int64(); err != nil || v.number < 1 || number > 0 && v.number != number {
		return v, &RequestError{Operation: "read", Path: at.data(), Fault: FaultAnswer}
	}
	v.members, _ = answer.Data["data"].(map[string]any)
	v.destroyed, _ = metadata["destroyed"].(bool)
	return v, nil
}

// write stores members if the place is still at a version, and returns the next.
func (s *Store) write(ctx context.Context, operation string, at place, expected int64, members map[string]any) (int64, error) {
	answer, err := s.request(ctx, operation, at.data(), func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().WriteWithContext(ctx, at.data(), map[string]any{
			"options": map[string]any{"cas": expected}, "data": members,
		})
	})
	if err != nil {
		return 0, err
	}
	if answer != nil {
		if n, ok := answer.Data["version"].(interface{ Int64() (int64, error) }); ok {
			if number, err := n.Int64(); err == nil && number > 0 {
				return number, nil
			}
		}
	}
	return 0, &RequestError{Operation: operation, Path: at.data(), Fault: FaultAnswer}
}

// checkMount checks once whether the mount is KV version 2. Version 1 would ignore the expected
// version of a write and store it.
func (s *Store) checkMount(ctx context.Context) error {
	if s.isKV2.Load() {
		return nil
	}
	path := "sys/internal/ui/mounts/" + s.mount
	answer, err := s.request(ctx, "mount", path, func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().ReadWithContext(ctx, path)
	})
	if err != nil {
		return err
	}
	if answer != nil {
		options, _ := answer.Data["options"].(map[string]any)
		if kind, _ := answer.Data["type"].(string); (kind == "kv" || kind == "generic") && options["version"] == "2" {
			s.isKV2.Store(true)
			return nil
		}
	}
	return fmt.Errorf("credential store: %q is not a mount of KV version 2: set --vault-mount, or enable it with `bao secrets enable -path=%s kv-v2`", s.mount, s.mount)
}

// impossible is a version that no secret can have.
const impossible = 1<<31 - 1

// Ready reports whether Prepare can be expected to succeed for a shop. It sends a write to
// the shop's path with a version that the path cannot have. The server makes all checks of
// a write, and stores nothing.
func (s *Store) Ready(ctx context.Context, shop journal.ShopKey) error {
	ref := schemas.Reference{Store: s.name, Mount: s.mount, Account: shop.Account, Shop: shop.Shop}
	if ref.Check() != nil {
		return fmt.Errorf("%w: no reference can name its account and shop", credentials.ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := s.checkMount(ctx); err != nil {
		return err
	}
	at := placeOf(ref)
	latest, err := s.read(ctx, at, 0)
	if err != nil {
		return err
	}
	if err := s.checkOwner(latest, shop, at); err != nil {
		return err
	}
	_, err = s.write(ctx, "probe", at, impossible, map[string]any{})
	switch {
	case err == nil:
		return &RequestError{Operation: "probe", Path: at.data(), Fault: FaultAnswer}
	case faultOf(err) == FaultMismatch:
		return nil
	}
	return err
}

// Prepare stores a secret, which can be read when Prepare returns.
func (s *Store) Prepare(ctx context.Context, in credentials.Secret) (credentials.Prepared, error) {
	ref, err := in.ReferenceIn(s.name, s.mount)
	if err != nil {
		return credentials.Prepared{}, err
	}
	if err := s.checkMount(ctx); err != nil {
		return credentials.Prepared{}, err
	}
	members, err := s.members(in)
	if err != nil {
		return credentials.Prepared{}, err
	}
	at := placeOf(ref)
	for range races {
		latest, err := s.read(ctx, at, 0)
		if err != nil {
			return credentials.Prepared{}, err
		}
		there, err := s.stored(ctx, at, latest, in)
		if err != nil {
			return credentials.Prepared{}, err
		}
		if there.number > 0 {
			return prepared(ref, there, in), nil
		}
		if err := s.checkOwner(latest, in.Shop, at); err != nil {
			return credentials.Prepared{}, err
		}
		if latest.number == 0 {
			if err := s.begin(ctx, at); err != nil {
				return credentials.Prepared{}, err
			}
		}
		number, err := s.write(ctx, "write", at, latest.number, members)
		switch {
		case err == nil:
			return prepared(ref, version{number: number, members: members}, in), nil
		case faultOf(err) != FaultMismatch:
			return credentials.Prepared{}, err
		}
	}
	return credentials.Prepared{}, &RequestError{Operation: "write", Path: at.data(), Fault: FaultMismatch}
}

func prepared(ref schemas.Reference, v version, in credentials.Secret) credentials.Prepared {
	pinned := ref.Pinned(v.number)
	proof, _ := proofOf(v.members) // it was created or compared above
	// The journal's number may be higher, and must not be used twice.
	return credentials.Prepared{Reference: pinned, Row: journal.Credential{
		Shop: in.Shop, Version: max(in.Version, v.number), Reference: pinned.String(), MerchantID: in.MerchantID, Proof: proof, At: time.Now().UTC(),
	}}
}

// begin creates the path with its own settings.
func (s *Store) begin(ctx context.Context, at place) error {
	_, err := s.request(ctx, "metadata", at.metadata(), func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().WriteWithContext(ctx, at.metadata(), map[string]any{"max_versions": MaxVersions, "cas_required": true})
	})
	return err
}

// stored finds a secret that an earlier call stored, whose response was lost or whose
// version the journal could not commit. Its number is 0 if there is none.
func (s *Store) stored(ctx context.Context, at place, latest version, in credentials.Secret) (version, error) {
	for v := latest; v.number > 0; {
		if s.same(v.members, in) {
			return v, nil
		}
		if v.number == 1 || v.number <= latest.number-MaxVersions+1 {
			break
		}
		older, err := s.read(ctx, at, v.number-1)
		if err != nil {
			return version{}, err
		}
		if older.number == 0 {
			break // it is not retained any more, and neither are earlier ones
		}
		v = older
	}
	return version{}, nil
}

// checkOwner returns ErrConflict if the stored secret was not written by this service for this
// shop.
func (s *Store) checkOwner(v version, shop journal.ShopKey, at place) error {
	if v.members == nil || s.authentic(v.members, shop) {
		return nil
	}
	return fmt.Errorf("%w: %s, version %d", credentials.ErrConflict, at.mount+"/"+at.path, v.number)
}

func (s *Store) same(members map[string]any, in credentials.Secret) bool {
	return text(members, memberOperation) == in.Operation.String() && text(members, memberMerchant) == in.MerchantID &&
		secret.New(text(members, memberToken)).Equal(in.Token) && s.authentic(members, in.Shop)
}

func text(members map[string]any, name string) string {
	s, _ := members[name].(string)
	return s
}

func (s *Store) members(in credentials.Secret) (map[string]any, error) {
	m := map[string]any{
		memberMerchant: in.MerchantID, memberToken: in.Token.Reveal(), memberAccount: in.Shop.Account, memberShop: in.Shop.Shop,
		memberOperation: in.Operation.String(), memberSchema: schemaVersion,
	}
	mac, err := s.keys.Authenticate(keyset.DomainStored, provenValues(m)...)
	if err != nil {
		return nil, fmt.Errorf("credential store: %w", err)
	}
	m[memberProof] = base64.StdEncoding.EncodeToString(mac)
	return m, nil
}

// provenValues are the values that the proof covers.
func provenValues(m map[string]any) [][]byte {
	names := []string{memberSchema, memberAccount, memberShop, memberOperation, memberMerchant, memberToken}
	parts := make([][]byte, len(names))
	for i, name := range names {
		parts[i] = []byte(text(m, name))
	}
	return parts
}

// proofOf returns the MAC over the other members. It begins with the id of its key.
func proofOf(members map[string]any) ([]byte, error) {
	return base64.StdEncoding.DecodeString(text(members, memberProof))
}

// authentic reports whether this service wrote members for a shop.
func (s *Store) authentic(members map[string]any, shop journal.ShopKey) bool {
	return s.prove(members, shop) == nil
}

// prove is authentic with a reason: ErrUnreadable, and also keyset.ErrNoKey if the keyset
// lacks the key of the proof.
func (s *Store) prove(members map[string]any, shop journal.ShopKey) error {
	mac, err := proofOf(members)
	if err != nil || text(members, memberAccount) != shop.Account || text(members, memberShop) != shop.Shop {
		return credentials.ErrUnreadable
	}
	switch err := s.keys.Verify(mac, keyset.DomainStored, provenValues(members)...); {
	case errors.Is(err, keyset.ErrNoKey):
		return fmt.Errorf("%w: %w", credentials.ErrUnreadable, err)
	case err != nil:
		return credentials.ErrUnreadable
	}
	return nil
}

// Read reads the secret of a row from the mount that its reference names.
func (s *Store) Read(ctx context.Context, row journal.Credential) (credentials.Secret, error) {
	ref, err := schemas.ParseReference(row.Reference)
	if err != nil || ref.Account != row.Shop.Account || ref.Shop != row.Shop.Shop || ref.Version == 0 {
		return credentials.Secret{}, credentials.ErrUnreadable
	}
	out, err := s.Resolve(ctx, ref)
	switch {
	case err != nil:
		return credentials.Secret{}, err
	case out.MerchantID != row.MerchantID:
		return credentials.Secret{}, credentials.ErrUnreadable
	}
	out.Version = row.Version
	return out, nil
}

// Destroy destroys the version of a row: the server erases it and cannot undelete it. An
// existing version must be the row's; for a deleted one that cannot be checked.
func (s *Store) Destroy(ctx context.Context, row journal.Credential) error {
	ref, err := schemas.ParseReference(row.Reference)
	if err != nil || ref.Account != row.Shop.Account || ref.Shop != row.Shop.Shop || ref.Version == 0 {
		return fmt.Errorf("%w: the row's reference is another's", credentials.ErrConflict)
	}
	at := placeOf(ref)
	v, err := s.read(ctx, at, ref.Version)
	switch {
	case err != nil:
		return err
	case v.destroyed, v.number == 0: // or the server has removed it
		return nil
	}
	if err := s.checkOwner(v, row.Shop, at); err != nil {
		return err
	}
	_, err = s.request(ctx, "destroy", at.destroy(), func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().WriteWithContext(ctx, at.destroy(), map[string]any{"versions": []int64{ref.Version}})
	})
	return err
}

// Resolve reads the secret that a reference names; without a version the latest. The
// secret's version is the server's. The error is ErrUnreadable if this service did not
// write the secret.
func (s *Store) Resolve(ctx context.Context, ref schemas.Reference) (credentials.Secret, error) {
	if ref.Check() != nil || !slices.Contains([]string{schemas.StoreVault, schemas.StoreOpenBao}, ref.Store) {
		return credentials.Secret{}, credentials.ErrUnreadable
	}
	v, err := s.read(ctx, placeOf(ref), ref.Version)
	switch {
	case err != nil:
		return credentials.Secret{}, err
	case v.destroyed:
		return credentials.Secret{}, credentials.ErrUnreadable
	case v.members == nil:
		return credentials.Secret{}, credentials.ErrAbsent // it may be undeleted
	}
	out := credentials.Secret{
		Shop: journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, Version: v.number,
		MerchantID: text(v.members, memberMerchant), Token: secret.New(text(v.members, memberToken)),
	}
	// A token that another writer has stored there may be another shop's.
	if err := s.prove(v.members, out.Shop); err != nil {
		return credentials.Secret{}, err
	}
	out.Operation, err = uuid.Parse(text(v.members, memberOperation))
	if err != nil || out.MerchantID == "" || out.Token.IsZero() {
		return credentials.Secret{}, credentials.ErrUnreadable
	}
	return out, nil
}
