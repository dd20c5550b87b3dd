# The history of the repository, where there is no log of dpkg: `git log --reverse --name-status --pretty=commit%x09%h%x09%an%x09%cI`.
# The stream is the file, the correlation id the commit.
function text(s) { gsub(/["\\]/, "", s); return "\"" s "\"" }
BEGIN { FS = "\t"; name["A"] = "FileAdded"; name["M"] = "FileChanged"; name["D"] = "FileDeleted"; name["R"] = "FileRenamed"; name["C"] = "FileCopied"; name["T"] = "FileChanged" }
$1 == "commit" { commit = $2; author = $3; at = $4; next }
NF >= 2 && substr($1, 1, 1) in name && $NF !~ /[ "]/ {
	printf "file-%s\t%s\t{\"commit\": %s}\t{\"actor\": %s, \"action\": %s, \"resource\": %s, \"correlation_id\": %s}\t%s\n",
		$NF, name[substr($1, 1, 1)], text(commit), text(author), text($1), text($NF), text(commit), at
}
