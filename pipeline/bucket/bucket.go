package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	"gocloud.dev/gcerrors"
)

// What is tried again, and how long. The libraries try on their own as well, three times at most.
const (
	tries     = 4
	leastWait = 500 * time.Millisecond
	patience  = time.Minute // with one request without a body; those with one may take longer by their size
	slowest   = 100 << 10   // bytes a second that a connection must carry to be waited for
)

// sumKey is the metadata that holds an object's SHA-256.
const sumKey = "sha256"

// ErrConflict says that other bytes stand under a key.
var ErrConflict = errors.New("the store holds another object of that name")

// Bucket is an open place in an object store.
type Bucket struct {
	At       Location
	blob     *blob.Bucket
	patience time.Duration
	wait     time.Duration
}

// Open opens a place; it asks the store for nothing yet. Credentials come from where the provider's own tools look for them.
func Open(ctx context.Context, at Location) (*Bucket, error) {
	var b *blob.Bucket
	var err error
	switch {
	case at.url.Scheme == "s3":
		b, err = openS3(ctx, at.url)
	case at.url.Scheme == "gs":
		b, err = openGS(ctx, at.url)
	default:
		b, err = blob.OpenBucket(ctx, at.url.String())
	}
	if errors.Is(err, ErrLocation) {
		return nil, err
	}
	if err != nil {
		return nil, fault(at, "opening", "", err)
	}
	return &Bucket{At: at, blob: b, patience: patience, wait: leastWait}, nil
}

// Close ends the connections.
func (b *Bucket) Close() error { return b.blob.Close() }

// try does one request, and again where that may help.
func (b *Bucket) try(ctx context.Context, what, key string, size int64, request func(context.Context) error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = b.wait
	limit := b.patience + time.Duration(size/slowest)*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		once, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
		defer cancel()
		err := request(once)
		if err != nil && ctx.Err() == nil && context.Cause(once) == errSlow { //nolint:errorlint // it is the cause itself, set above
			err = fmt.Errorf("%w within %v: %w", errSlow, limit, err)
		}
		if err != nil && (ctx.Err() != nil || definite(err)) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxTries(tries), backoff.WithMaxElapsedTime(0))
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = permanent.Err
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault(b.At, what, key, err)
}

var errSlow = errors.New("the store did not answer")

// object is what a put is about.
type object struct {
	key, sum string
	size     int64
	shared   bool // whatever stands there serves
	replace  bool
}

func (o object) contentType() string {
	switch path.Ext(o.key) {
	case ".parquet":
		return "application/vnd.apache.parquet"
	case ".json":
		return "application/json"
	default:
		return "text/markdown; charset=utf-8"
	}
}

// put makes an object, and never another of the same name; it reports false where it stood there already.
func (b *Bucket) put(ctx context.Context, o object, body io.ReadSeeker) (created bool, err error) {
	if !o.replace {
		if same, err := b.holds(ctx, o); same || err != nil { // a store that knows no create-only put gets none to do wrong
			return false, err
		}
	}
	options := &blob.WriterOptions{
		IfNotExist: !o.replace, ContentType: o.contentType(), Metadata: map[string]string{sumKey: o.sum}, MaxConcurrency: 2,
	}
	err = b.try(ctx, "putting", o.key, o.size, func(ctx context.Context) error {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return b.blob.Upload(ctx, b.At.prefix+o.key, body, options)
	})
	if err == nil || ctx.Err() != nil || o.replace {
		return err == nil, err
	}
	// An earlier try may have come through and its answer been lost, or another writer was first. A store that will not make
	// an object twice need not wait for its bytes: then the client may see no answer but a broken connection.
	there := gcerrors.Code(cause(err)) == gcerrors.FailedPrecondition
	if !there && definite(cause(err)) {
		return false, err
	}
	same, looked := b.holds(ctx, o)
	switch {
	case there && !same && looked == nil:
		err = fmt.Errorf("%s: putting %s: the store says that it is there, and that it is not; push again", b.At, o.key)
	case there || same || errors.Is(looked, ErrConflict):
		err = looked
	}
	return false, err
}

// holds says whether the store has the object. Another of the same name is ErrConflict.
func (b *Bucket) holds(ctx context.Context, o object) (bool, error) {
	var is *blob.Attributes
	err := b.try(ctx, "looking for", o.key, 0, func(ctx context.Context) (err error) {
		is, err = b.blob.Attributes(ctx, b.At.prefix+o.key)
		return err
	})
	if absent(err) {
		return false, nil
	}
	if err != nil || o.shared {
		return err == nil, err
	}
	sum := is.Metadata[sumKey]
	if sum == "" && is.Size == o.size { // some other program has put it there
		if sum, err = b.sum(ctx, o.key, is.Size); err != nil {
			return false, err
		}
	}
	if sum != o.sum || is.Size != o.size {
		return false, fmt.Errorf("%w: %s/%s, %d bytes, is not what is to be put there, %d bytes", ErrConflict, b.At.Plain(), o.key, is.Size, o.size)
	}
	return true, nil
}

// sum reads an object for its SHA-256.
func (b *Bucket) sum(ctx context.Context, key string, size int64) (string, error) {
	digest := sha256.New()
	err := b.get(ctx, key, size, func() (io.Writer, error) {
		digest.Reset()
		return digest, nil
	})
	return hex.EncodeToString(digest.Sum(nil)), err
}

// get reads an object into what begin gives, which is asked for anew by each try.
func (b *Bucket) get(ctx context.Context, key string, size int64, begin func() (io.Writer, error)) error {
	return b.try(ctx, "reading", key, size, func(ctx context.Context) error {
		w, err := begin()
		if err != nil {
			return err
		}
		return b.blob.Download(ctx, b.At.prefix+key, w, nil)
	})
}

// read is a small object's content.
func (b *Bucket) read(ctx context.Context, key string) ([]byte, error) {
	var into bytes.Buffer
	err := b.get(ctx, key, 0, func() (io.Writer, error) {
		into.Reset()
		return &into, nil
	})
	return into.Bytes(), err
}

// list gives the keys below a folder, in order.
func (b *Bucket) list(ctx context.Context, folder string) (keys []string, err error) {
	err = b.try(ctx, "listing", folder, 0, func(ctx context.Context) error {
		keys = nil
		for it := b.blob.List(&blob.ListOptions{Prefix: b.At.prefix + folder}); ; {
			o, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			key := strings.TrimPrefix(o.Key, b.At.prefix)
			if strings.HasSuffix(key, "/") { // a folder that some tools make
				continue
			}
			keys = append(keys, key)
		}
	})
	return keys, err
}
