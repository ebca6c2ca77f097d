package bucket

import (
	"context"
	"net/url"
	"os"

	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
)

// openGS opens a bucket as gcsblob's own opener does, but for what that prints: without credentials, needed or not, it warns on
// stdout, and goes on with a key that is none.
func openGS(ctx context.Context, u url.URL) (*blob.Bucket, error) {
	anonymous, err := flag(u.Query(), "anonymous", false)
	if err != nil {
		return nil, err
	}
	if anonymous {
		return new(gcsblob.URLOpener).OpenBucketURL(ctx, &u)
	}
	if os.Getenv("STORAGE_EMULATOR_HOST") == "" {
		if _, err := gcp.DefaultCredentials(ctx); err != nil {
			return nil, err
		}
	}
	return blob.OpenBucket(ctx, u.String())
}
