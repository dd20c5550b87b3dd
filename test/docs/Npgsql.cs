// The part of Npgsql's interface that the sample of docs/howto/consumers.md uses, to compile it where Npgsql is not installed. It does nothing.
namespace NpgsqlTypes { public enum NpgsqlDbType { Uuid } }

namespace Npgsql
{
    using System;
    using NpgsqlTypes;

    public class NpgsqlException : Exception { }
    public sealed class PostgresException : NpgsqlException { public string SqlState { get { return null; } } }
    public sealed class NpgsqlConnection : IDisposable
    {
        public NpgsqlConnection(string connectionString) { }
        public void Open() { }
        public bool Wait(int timeout) { return false; }
        public void Dispose() { }
    }
    public sealed class NpgsqlParameter { }
    public sealed class NpgsqlParameterCollection
    {
        public NpgsqlParameter AddWithValue(string parameterName, NpgsqlDbType parameterType, object value) { return null; }
    }
    public sealed class NpgsqlDataReader : IDisposable
    {
        public bool Read() { return false; }
        public bool IsDBNull(int ordinal) { return true; }
        public Guid GetGuid(int ordinal) { return Guid.Empty; }
        public string GetString(int ordinal) { return null; }
        public void Dispose() { }
    }
    public sealed class NpgsqlCommand : IDisposable
    {
        public NpgsqlCommand(string cmdText, NpgsqlConnection connection) { }
        public NpgsqlParameterCollection Parameters { get { return null; } }
        public NpgsqlDataReader ExecuteReader() { return null; }
        public int ExecuteNonQuery() { return 0; }
        public void Dispose() { }
    }
}
